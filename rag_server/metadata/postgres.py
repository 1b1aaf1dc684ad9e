"""Connections to PostgreSQL, through asyncpg.

asyncpg reads the URL itself, as libpq does, so that `sslmode`, `sslrootcert`, `sslcert`, `sslkey`,
`passfile` and several hosts mean what they mean to every other client. What the transactions rely on is
fixed for each connection when it is made, whatever the server's defaults are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, event, make_url, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from rag_server.metadata.options import ConnectionOptions

if TYPE_CHECKING:
    import asyncpg

APPLICATION_NAME = "rag-server"
"""What `pg_stat_activity` shows of our connections."""
DRIVER = "postgresql+asyncpg"
MIGRATION_LOCK_TIMEOUT_S = 600.0
"""How long a server waits for another one that migrates."""
_ABANDONED_TRANSACTION_S = 60.0
"""After which the server ends a transaction that its client leaves alone, and gives up its locks."""
_RECYCLE_S = 1800.0
_ANSWER_GRACE_S = 5.0
"""The server ends a statement by itself; a client that waits longer has lost the connection."""
MIGRATION_LOCK = 0x7261_672D_6D69_6772
"""Key of the advisory lock that one migration at a time holds: "rag-migr"."""

WRITING: Mapping[str, str] = {
    # locks do the ordering: a statement that has waited for one sees what its holder has committed
    "default_transaction_isolation": "read committed",
}
READING: Mapping[str, str] = {
    # everything in a snapshot is read as of its first statement
    "default_transaction_isolation": "repeatable read",
    "default_transaction_read_only": "on",
}


def normalised_url(url: str) -> str:
    """Return a PostgreSQL URL in the form that SQLAlchemy takes for asyncpg.

    Raises `ValueError`, without the URL in its text, when it is not one.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError("is not a URL") from None  # their text holds it
    if parsed.drivername not in {DRIVER, "postgresql", "postgres"}:
        raise ValueError("has to begin with postgresql+asyncpg:// or postgresql://")
    if not parsed.database:
        raise ValueError("names no database: postgresql://USER@HOST/DATABASE")
    query = dict(parsed.query)
    if "ssl" in query:  # SQLAlchemy's name for asyncpg's argument; asyncpg's URLs know libpq's name
        query.setdefault("sslmode", {"true": "require"}.get(str(query["ssl"]), query["ssl"]))
        del query["ssl"]
    return parsed.set(drivername=DRIVER, query=query).render_as_string(hide_password=False)


def create_engine(
    url: str, options: ConnectionOptions, transactions: Mapping[str, str], *, is_pooled: bool = True
) -> AsyncEngine:
    """Return an engine whose transactions are as `WRITING` or `READING` says."""
    dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    settings = {
        **transactions,
        "application_name": APPLICATION_NAME,
        "statement_timeout": _milliseconds(options.statement_timeout_s),
        "lock_timeout": _milliseconds(options.lock_timeout_s),
        "idle_in_transaction_session_timeout": _milliseconds(_ABANDONED_TRANSACTION_S),
        "timezone": "UTC",
        # compiling a statement costs more than any of ours takes
        "jit": "off",
    }

    async def connect() -> asyncpg.Connection[Any]:
        import asyncpg

        return await asyncpg.connect(
            dsn,
            timeout=options.connect_timeout_s,
            command_timeout=options.statement_timeout_s + _ANSWER_GRACE_S if is_pooled else None,
            server_settings=settings,
        )

    pool: dict[str, Any] = {"poolclass": NullPool}
    if is_pooled:
        pool = {
            "pool_size": options.pool_size,
            "max_overflow": 0,
            "pool_timeout": options.pool_timeout_s,
            "pool_pre_ping": True,
            "pool_recycle": _RECYCLE_S,
        }
    # hide_parameters: values belong to tenants, and errors are logged with their statement
    engine = create_async_engine(f"{DRIVER}://", async_creator=connect, hide_parameters=True, **pool)
    event.listen(engine.sync_engine, "handle_error", _name_lost_connection)
    return engine


def take_migration_lock(connection: Connection) -> None:
    """Wait until no other server migrates this database; holds until the transaction ends.

    What a migration does may take long, so only the wait for locks stays bounded.
    """
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text(f"SET LOCAL lock_timeout = {_milliseconds(MIGRATION_LOCK_TIMEOUT_S)}"))
    connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))


def compare_bytewise(connection: Connection) -> None:
    """Give every text column of ours the collation "C", so that text sorts by code point as on SQLite.

    The database's own collation may sort by the rules of a language, which change with the system's
    libraries, and leave an index in an order that no longer holds.
    """
    columns = connection.execute(
        text(
            "SELECT c.relname, a.attname FROM pg_attribute a"
            " JOIN pg_class c ON c.oid = a.attrelid JOIN pg_collation l ON l.oid = a.attcollation"
            " WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace"
            " AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = 'text'::regtype"
            " AND l.collname <> 'C' AND c.relname <> 'alembic_version' ORDER BY c.relname, a.attnum"
        )
    ).all()
    quote = connection.dialect.identifier_preparer.quote
    by_table: dict[str, list[str]] = {}
    for table, column in columns:
        change = f'ALTER COLUMN {quote(column)} TYPE text COLLATE "C"'
        by_table.setdefault(table, []).append(change)
    for table, changes in by_table.items():
        connection.execute(text(f"ALTER TABLE {quote(table)} {', '.join(changes)}"))


def _name_lost_connection(context: ExceptionContext) -> DBAPIError | None:
    """Make an error of the socket one of the database's: outside it could be anybody's."""
    error = context.original_exception
    if not isinstance(error, OSError):
        return None
    context.is_disconnect = True
    return OperationalError(None, None, error, hide_parameters=True, connection_invalidated=True)


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))
