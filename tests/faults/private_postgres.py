"""A PostgreSQL server of a test's own, since nobody restarts the one that all tests share."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rag_server.testing.postgres_server import PostgresServer, find_programs


@contextmanager
def private_postgres(*options: str) -> Iterator[PostgresServer]:
    """Run one on a free port; skip the test where PostgreSQL's programs are not installed."""
    programs = find_programs()
    if programs is None:
        pytest.skip("initdb and pg_ctl are not installed: a server that may be restarted cannot be made")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    # not in pytest's folders, which the account `postgres` may not enter
    folder = Path(tempfile.mkdtemp(prefix="rag-test-postgres-"))
    folder.chmod(0o711)
    server = PostgresServer(programs, folder / "cluster", port, options=["shared_buffers=16MB", *options])
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
