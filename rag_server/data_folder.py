"""The embedded server's data folder: one server at a time."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rag_server.errors import FailedPrecondition

LOCK_FILE = "server.lock"


@contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """Make `folder`, hold its lock, and return it as an absolute path.

    The lock goes with the process, however that ends. Raises `FailedPrecondition` (`DATA_DIR_IN_USE`,
    `DATA_DIR_UNUSABLE`).
    """
    path = folder.expanduser().absolute()
    try:
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        path.mkdir(parents=True, exist_ok=True)
        file = (path / LOCK_FILE).open("a")
    except OSError as error:
        raise FailedPrecondition(
            "DATA_DIR_UNUSABLE", f"cannot write to the data folder {path}: {error.strerror}"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FailedPrecondition(
                "DATA_DIR_IN_USE", f"another server uses the data folder {path}: stop it, or choose another"
            ) from None
        yield path
