"""Engines: how connections to the metadata store are opened, and how many.

SQLite has one writer at a time, so its write engine has one connection: waiting happens in the pool,
in order, not in SQLite's busy loop. Each SQLite connection costs a thread. See `postgres` for the other one.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, suppress
from typing import Any

from sqlalchemy import Connection, event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from rag_server.metadata import postgres
from rag_server.metadata.options import DEFAULT, ConnectionOptions

BUSY_TIMEOUT_MS = 5_000
"""How long SQLite waits for a lock that another process holds."""
_BUSY_POLL_S = 0.01
READER_COUNT = 4

_DURABLE_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    # FULL syncs the log at every commit. Under NORMAL a power cut could take back a job that the
    # caller has been told is accepted.
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
)


class _RollingBackConnection(sqlite3.Connection):
    """A connection that ends its transaction when it is closed.

    SQLite keeps a closed connection, with its locks, until its last statement is finalised. A statement
    that a cancelled task left half read lives as long as that task's traceback: without the rollback,
    no other writer could begin until then.
    """

    def close(self) -> None:
        try:
            with suppress(sqlite3.ProgrammingError):  # closed already
                self.rollback()
        finally:
            super().close()


def is_sqlite(url: str) -> bool:
    """Whether `url` names a SQLite file."""
    return make_url(url).get_backend_name() == "sqlite"


def prepare(url: str) -> None:
    """Put the file into WAL mode, which it stays in; nothing to do for a server. Blocks.

    Raises `sqlite3.Error` unless the file can be opened. Done before the pool is asked: the asynchronous
    driver leaves its thread behind for a moment when it cannot open a file, and a caller that gives up
    at once would close the event loop under it.
    """
    path = make_url(url).database
    if is_sqlite(url) and path is not None:
        with closing(sqlite3.connect(path)) as connection:
            _enter_wal(connection)


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Change the mode, waiting for others that do: SQLite's own time-out does not apply to this change."""
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_BUSY_POLL_S)
        else:
            return


def create_writer(url: str, options: ConnectionOptions = DEFAULT, *, is_pooled: bool = True) -> AsyncEngine:
    """Return the engine of write transactions; unpooled for a single use, such as a migration."""
    if not is_sqlite(url):
        return postgres.create_engine(url, options, postgres.WRITING, is_pooled=is_pooled)
    # IMMEDIATE takes the write lock at once: two transactions that read and then write would
    # otherwise both hold a read lock and neither could go on.
    pool = _pool(1, options) if is_pooled else _UNPOOLED
    return _sqlite_engine(url, "BEGIN IMMEDIATE", _DURABLE_PRAGMAS, pool)


def create_reader(url: str, options: ConnectionOptions = DEFAULT) -> AsyncEngine:
    """Return the engine of read-only snapshots."""
    if not is_sqlite(url):
        return postgres.create_engine(url, options, postgres.READING)
    pragmas = (*_DURABLE_PRAGMAS, "PRAGMA query_only=ON")
    return _sqlite_engine(url, "BEGIN", pragmas, _pool(READER_COUNT, options))


_UNPOOLED: dict[str, Any] = {"poolclass": NullPool}


def _pool(size: int, options: ConnectionOptions) -> dict[str, Any]:
    return {"pool_size": size, "max_overflow": 0, "pool_timeout": options.pool_timeout_s}


def _sqlite_engine(url: str, begin: str, pragmas: tuple[str, ...], pool: dict[str, Any]) -> AsyncEngine:
    # hide_parameters: values belong to tenants, and errors are logged with their statement
    # isolation_level None: the driver begins nothing by itself, `start` below does
    arguments = {"isolation_level": None, "factory": _RollingBackConnection}
    engine = create_async_engine(url, connect_args=arguments, hide_parameters=True, **pool)

    def prepare(connection: Any, _record: object) -> None:
        try:
            with closing(connection.cursor()) as cursor:
                for pragma in pragmas:
                    cursor.execute(pragma)
        except BaseException:
            # the pool does not know this connection yet, so nobody else would end its thread
            connection.close()
            raise

    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", start)
    return engine
