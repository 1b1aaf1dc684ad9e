"""Checks of the data folder: space, rights, and whether a process has it locked."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ragctl.findings import Finding, Level

MEBIBYTE = 1024 * 1024
FAIL_DISK_MIB, WARN_DISK_MIB = 200, 2048
LOCKS = Path("/proc/locks")
_PID_COLUMN, _FILE_COLUMN = 4, 5


def nearest_folder(path: Path) -> Path:
    """Return the folder itself, or the nearest one above it that exists."""
    absolute = path.absolute()
    return next((each for each in (absolute, *absolute.parents) if each.is_dir()), Path("/"))


def check_disk(data_dir: Path, free_bytes: int | None = None) -> Finding:
    """Look whether there is space for data. `free_bytes` replaces the measurement."""
    free = shutil.disk_usage(nearest_folder(data_dir)).free if free_bytes is None else free_bytes
    mebibytes = free // MEBIBYTE
    detail = f"{mebibytes} MiB free for {data_dir}"
    advice = "free some space, or set another folder with --data-dir"
    if mebibytes < FAIL_DISK_MIB:
        return Finding("disk", Level.FAIL, detail, advice)
    if mebibytes < WARN_DISK_MIB:
        return Finding("disk", Level.WARN, detail, advice)
    return Finding("disk", Level.OK, detail)


def check_data_dir(data_dir: Path) -> Finding:
    """Look whether the data folder can be written, by writing an anonymous file into it."""
    if data_dir.exists() and not data_dir.is_dir():
        return Finding(
            "data folder", Level.FAIL, f"{data_dir} is not a folder", "set another with --data-dir"
        )
    folder = nearest_folder(data_dir)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        return Finding(
            "data folder",
            Level.FAIL,
            f"{folder} cannot be written: {error.strerror}",
            "change its owner or rights, or set another with --data-dir",
        )
    if folder != data_dir.absolute():
        return Finding("data folder", Level.OK, f"{data_dir} can be made")
    return Finding("data folder", Level.OK, f"{data_dir} can be written")


def lock_holders(files: Iterable[Path], locks_file: Path = LOCKS) -> set[int] | None:
    """Return the processes that hold a lock on one of the files; None where the system does not tell.

    Read from Linux's `/proc/locks` (proc_locks(5)), which asks nothing of the files themselves: to try
    their locks would be in the way of a server that starts at that moment.
    """
    try:
        lines = locks_file.read_text("ascii").splitlines()
    except OSError:
        return None
    wanted = set()
    for file in files:
        try:
            status = file.stat()
        except OSError:
            continue  # gone since it was listed
        device = status.st_dev
        wanted.add(f"{os.major(device):02x}:{os.minor(device):02x}:{status.st_ino}")
    holders = set()
    for line in lines:
        columns = line.split()
        if "->" in columns:  # a process that waits for the lock
            continue
        if len(columns) > _FILE_COLUMN and columns[_FILE_COLUMN] in wanted:
            holders.add(int(columns[_PID_COLUMN]))
    return holders


def check_lock(data_dir: Path, *, is_served: bool, locks_file: Path = LOCKS) -> Finding:
    """Look whether a process has the data folder; that is fine when a server answers."""
    if not data_dir.is_dir():
        return Finding("data lock", Level.OK, "there is no data yet")
    # Databases and lock files stand at the top or one folder down; blobs below are never locked.
    files = [each for pattern in ("*", "*/*") for each in data_dir.glob(pattern) if each.is_file()]
    holders = lock_holders(files, locks_file)
    if holders is None:
        return Finding("data lock", Level.WARN, "this system does not tell who holds locks")
    if not holders:
        return Finding("data lock", Level.OK, "no process has the data folder")
    processes = ", ".join(str(each) for each in sorted(holders))
    if is_served:
        return Finding("data lock", Level.OK, f"in use by process {processes}; a server answers")
    return Finding(
        "data lock",
        Level.WARN,
        f"in use by process {processes}, and no server answers at the address",
        "a server on this folder listens elsewhere, starts or hangs: look at that process first",
    )
