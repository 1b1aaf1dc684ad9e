from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine

from rag_server.domain.change import DocumentChange
from rag_server.domain.lexical import Bm25
from rag_server.domain.metadata import MetadataType
from rag_server.errors import FailedPrecondition
from rag_server.metadata import Database, schema
from rag_server.metadata.migrations import HEAD
from rag_server.metadata.tables import metadata


def _tables(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    try:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    finally:
        connection.close()


def _set_version(path: Path, version: str) -> None:
    connection = sqlite3.connect(path)
    try:
        connection.execute("UPDATE alembic_version SET version_num = ?", [version])
        connection.commit()
    finally:
        connection.close()


def test_head_is_the_last_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_migrate_empty_database_makes_what_the_tables_declare(url: str, tmp_path: Path) -> None:
    schema.migrate(url)

    def compare(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    engine = create_engine(f"sqlite:///{tmp_path / 'metadata.db'}")
    try:
        with engine.connect() as connection:
            assert compare(connection) == []
    finally:
        engine.dispose()


def test_migrate_to_base_removes_everything_and_back_again(url: str, tmp_path: Path) -> None:
    schema.migrate(url)
    full = _tables(tmp_path / "metadata.db")
    schema.migrate(url, "base")
    assert _tables(tmp_path / "metadata.db") == {"alembic_version"}
    schema.migrate(url)
    assert _tables(tmp_path / "metadata.db") == full == {*metadata.tables, "alembic_version"}


_ROWS_OF_0001 = """
INSERT INTO collections VALUES ('acme', 'papers', 'u1', '', '', 'en', 'm', 4,
    '{"kind": "characters", "max_characters": 900, "overlap_characters": 90}', '{}',
    7, 1, 3, '2026-01-01 00:00:00', '2026-01-01 00:00:00');
INSERT INTO metadata_fields VALUES ('acme', 'u1', 'year', 'integer');
INSERT INTO document_revisions VALUES ('acme', 'u1', 'doc', 2);
INSERT INTO documents VALUES ('acme', 'u1', 'doc', 'papers', 2, 'T', 'file:x', 'text/plain', 'aa', 9, 'en',
    '{"year": {"type": "integer", "value": 2020}}', 3, 30, NULL,
    '2026-01-01 00:00:00', '2026-01-01 00:00:00');
"""


def _counts(path: Path) -> list[int]:
    connection = sqlite3.connect(path)
    try:
        tables = ("collections", "metadata_fields", "document_revisions", "documents")
        return [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]  # noqa: S608
    finally:
        connection.close()


async def test_open_database_of_0001_keeps_its_rows_and_has_a_gap_instead_of_a_log(
    url: str, tmp_path: Path
) -> None:
    await asyncio.to_thread(schema.migrate, url, "0001")
    connection = sqlite3.connect(tmp_path / "metadata.db")
    try:
        connection.executescript(_ROWS_OF_0001)
    finally:
        connection.close()
    database = await Database.open(url)
    try:
        async with database.transaction() as tx:
            found = await tx.collections.get("acme", "papers")
            assert (found.bm25, found.revision) == (Bm25(1.2, 0.75), 7)
            assert found.metadata_fields == {"year": MetadataType.INTEGER}
            assert (await tx.documents.get("acme", "u1", "doc")).metadata == {"year": 2020}
            assert await tx.changes.since("acme", "u1", 0, limit=10) is None
            assert await tx.changes.since("acme", "u1", 7, limit=10) == []
            await tx.documents.delete("acme", "u1", "doc")
            assert await tx.changes.since("acme", "u1", 6, limit=10) is None
            assert await tx.changes.since("acme", "u1", 7, limit=10) == [DocumentChange(8, "doc", None, 0)]
    finally:
        await database.close()


async def test_downgrade_to_0001_keeps_what_refers_to_a_collection(url: str, tmp_path: Path) -> None:
    await asyncio.to_thread(schema.migrate, url, "0001")
    connection = sqlite3.connect(tmp_path / "metadata.db")
    try:
        connection.executescript(_ROWS_OF_0001)
    finally:
        connection.close()
    for revision in (HEAD, "0001", HEAD):
        await asyncio.to_thread(schema.migrate, url, revision)
        assert _counts(tmp_path / "metadata.db") == [1, 1, 1, 1]


def test_every_table_and_primary_key_begins_with_the_tenant() -> None:
    for table in metadata.tables.values():
        assert next(iter(table.columns)).name == "tenant_id", table.name
        assert next(iter(table.primary_key.columns)).name == "tenant_id", table.name


def test_every_constraint_and_index_has_a_name() -> None:
    for table in metadata.tables.values():
        assert all(constraint.name for constraint in table.constraints), table.name
        assert all(index.name for index in table.indexes), table.name


async def test_migrate_breaking_midway_leaves_nothing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic import op

    def refuse(*_: object, **__: object) -> None:
        raise KeyError("power cut")

    monkeypatch.setattr(op, "create_index", refuse)
    with pytest.raises(KeyError):
        await Database.open(url)
    assert _tables(tmp_path / "metadata.db") == set()


async def test_open_twice_at_once_migrates_once(url: str) -> None:
    first, second = await asyncio.gather(Database.open(url), Database.open(url))
    await asyncio.gather(first.check(), second.check())
    await asyncio.gather(first.close(), second.close())


async def test_open_newer_schema_is_refused_and_untouched(url: str, tmp_path: Path) -> None:
    await (await Database.open(url)).close()
    _set_version(tmp_path / "metadata.db", "9999")
    before = _tables(tmp_path / "metadata.db")
    with pytest.raises(FailedPrecondition) as raised:
        await Database.open(url)
    assert raised.value.reason == "SCHEMA_TOO_NEW"
    assert "'9999'" in str(raised.value)
    assert raised.value.metadata == {"schema": "9999", "supported": HEAD}
    assert _tables(tmp_path / "metadata.db") == before


async def test_open_current_schema_does_not_import_alembic(url: str) -> None:
    await (await Database.open(url)).close()
    program = (
        "import asyncio, sys\n"
        "from rag_server.metadata import Database\n"
        "async def main():\n"
        f"    await (await Database.open({url!r})).close()\n"
        "asyncio.run(main())\n"
        "sys.exit('alembic' in sys.modules)\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stderr=subprocess.PIPE)
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
