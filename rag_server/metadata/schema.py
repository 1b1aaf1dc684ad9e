"""Brings the schema to the version that this code was written for."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from rag_server.errors import FailedPrecondition
from rag_server.metadata import postgres
from rag_server.metadata.engine import create_writer
from rag_server.metadata.migrations import HEAD

MIGRATIONS = Path(__file__).parent / "migrations"


async def bring_to_head(url: str, engine: AsyncEngine) -> None:
    """Migrate the database at `url`, of which `engine` is open, if it is not at `HEAD` already.

    Servers that do so at once take turns, and all but the first find it done. All of a migration happens,
    or nothing. Raises `FailedPrecondition` (`SCHEMA_TOO_NEW`) when a later release has migrated it.
    """
    if await version(engine) != HEAD:
        # Alembic is imported only here, and its environment runs its own event loop
        await asyncio.to_thread(migrate, url)


async def version(engine: AsyncEngine) -> str | None:
    """Return the schema's version; None for an empty database."""
    async with engine.connect() as connection:
        return await connection.run_sync(_version)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def migrate(url: str, revision: str = HEAD) -> None:
    """Upgrade or downgrade the database at `url` to `revision`. Blocks; call it off the event loop."""
    asyncio.run(_migrate(url, revision))


async def _migrate(url: str, revision: str) -> None:
    engine = create_writer(url, is_pooled=False)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_run, revision)
    finally:
        await engine.dispose()


def _run(connection: Connection, revision: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    is_postgres = connection.dialect.name == "postgresql"
    if is_postgres:
        postgres.take_migration_lock(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    # asked again under the lock: another process may have migrated in between
    current = _version(connection)
    if current is not None and current not in known:
        raise FailedPrecondition(
            "SCHEMA_TOO_NEW",
            f"the database has schema {current!r}; this release knows none later than {HEAD!r}: "
            "run the release that wrote it, or a later one",
            metadata={"schema": current, "supported": HEAD},
        )
    if current == HEAD and revision == HEAD:
        return
    if current is not None and (revision == "base" or revision < current):
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)
        if is_postgres:
            postgres.compare_bytewise(connection)
