from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from rag_server.metadata.engine import _RollingBackConnection, is_sqlite, prepare


def test_closed_connection_with_a_half_read_statement_gives_up_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "file.db"
    first = sqlite3.connect(path, isolation_level=None, factory=_RollingBackConnection)
    second = sqlite3.connect(path, isolation_level=None, timeout=0)
    try:
        first.execute("PRAGMA journal_mode=WAL")
        first.execute("CREATE TABLE numbers (number)")
        first.execute("BEGIN IMMEDIATE")
        first.executemany("INSERT INTO numbers VALUES (?)", [(number,) for number in range(9)])
        half_read = first.execute("SELECT number FROM numbers")
        assert half_read.fetchone() == (0,)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            second.execute("BEGIN IMMEDIATE")
        first.close()
        second.execute("BEGIN IMMEDIATE")
        assert second.execute("SELECT count(*) FROM numbers").fetchone() == (0,)
    finally:
        first.close()
        second.close()
    del half_read


def test_closed_connection_can_be_closed_again(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "file.db", factory=_RollingBackConnection)
    connection.close()
    connection.close()


@pytest.mark.parametrize(
    ("url", "expected"),
    [("sqlite+aiosqlite:////x/y.db", True), ("postgresql+asyncpg://host/rag", False)],
)
def test_is_sqlite_tells_the_databases_apart(url: str, expected: bool) -> None:
    assert is_sqlite(url) is expected


def test_prepare_waits_for_a_lock_and_leaves_the_file_in_wal_mode(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    with closing(sqlite3.connect(path)) as holder:
        holder.execute("CREATE TABLE t (x)")
        holder.execute("BEGIN EXCLUSIVE")  # the mode cannot change, and SQLite would not wait
        worker = threading.Thread(target=prepare, args=(f"sqlite+aiosqlite:///{path}",))
        worker.start()
        worker.join(0.05)
        assert worker.is_alive()
        holder.rollback()
        worker.join(30)
        assert not worker.is_alive()
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
