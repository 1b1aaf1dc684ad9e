from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import TypeVar

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from rag_server.domain.change import DocumentChange
from rag_server.domain.collection import CharacterChunking
from rag_server.domain.conversation import StoredSummary
from rag_server.domain.document import NewDocument
from rag_server.domain.lexical import Bm25
from rag_server.domain.metadata import MetadataType
from rag_server.errors import FailedPrecondition
from rag_server.metadata import Database, postgres, schema
from rag_server.metadata.engine import create_writer
from rag_server.metadata.migrations import HEAD
from rag_server.metadata.tables import metadata
from tests import databases

T = TypeVar("T")


@pytest.fixture
def url(unmigrated_url: str) -> str:
    return unmigrated_url


async def _on(url: str, work: Callable[[Connection], T]) -> T:
    engine = create_writer(url, is_pooled=False)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


async def _tables(url: str) -> set[str]:
    return await _on(url, lambda connection: set(inspect(connection).get_table_names()))


async def _execute(url: str, script: str) -> None:
    def execute(connection: Connection) -> None:
        for statement in script.split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)

    await _on(url, execute)


def test_head_is_the_last_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


async def test_migrate_empty_database_makes_what_the_tables_declare(url: str) -> None:
    await asyncio.to_thread(schema.migrate, url)

    def compare(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    assert await _on(url, compare) == []


async def test_migrate_to_base_removes_everything_and_back_again(url: str) -> None:
    await asyncio.to_thread(schema.migrate, url)
    full = await _tables(url)
    await asyncio.to_thread(schema.migrate, url, "base")
    assert await _tables(url) == {"alembic_version"}
    await asyncio.to_thread(schema.migrate, url)
    assert await _tables(url) == full == {*metadata.tables, "alembic_version"}


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


async def _counts(url: str) -> list[int]:
    tables = ("collections", "metadata_fields", "document_revisions", "documents")

    def count(connection: Connection) -> list[int]:
        return [connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0 for table in tables]  # noqa: S608

    return await _on(url, count)


async def test_open_database_of_0001_keeps_its_rows_and_has_a_gap_instead_of_a_log(
    url: str,
) -> None:
    await asyncio.to_thread(schema.migrate, url, "0001")
    await _execute(url, _ROWS_OF_0001)
    database = await Database.open(url)
    try:
        async with database.transaction() as tx:
            found = await tx.collections.get("acme", "papers")
            assert (found.bm25, found.revision) == (Bm25(1.2, 0.75), 7)
            assert found.metadata_fields == {"year": MetadataType.INTEGER}
            assert (await tx.documents.get("acme", "u1", "doc")).metadata == {"year": 2020}
            (kept,) = await tx.history.list("acme", "u1", "doc", limit=10)
            assert (kept.revision, kept.title, kept.sha256, kept.recipe) == (2, "T", "aa", "")
            assert kept.document == NewDocument(
                "", "doc", "T", "file:x", media_type="text/plain", metadata={"year": 2020}
            )
            assert kept.chunking == CharacterChunking(900, 90)
            assert await tx.changes.since("acme", "u1", 0, limit=10) is None
            assert await tx.changes.since("acme", "u1", 7, limit=10) == []
            await tx.documents.delete("acme", "u1", "doc")
            assert await tx.changes.since("acme", "u1", 6, limit=10) is None
            assert await tx.changes.since("acme", "u1", 7, limit=10) == [DocumentChange(8, "doc", None, 0)]
    finally:
        await database.close()


async def test_downgrade_to_0001_keeps_what_refers_to_a_collection(url: str) -> None:
    await asyncio.to_thread(schema.migrate, url, "0001")
    await _execute(url, _ROWS_OF_0001)
    for revision in (HEAD, "0001", HEAD):
        await asyncio.to_thread(schema.migrate, url, revision)
        assert await _counts(url) == [1, 1, 1, 1]


_CONVERSATION_OF_0009 = """
INSERT INTO conversations VALUES ('acme', 'c1', 'Leave', 'en', 2, 2,
    '2026-01-01 00:00:00', '2026-01-01 00:00:00', NULL, NULL);
"""


async def test_conversation_of_0009_gets_room_for_a_summary_and_loses_only_that_again(url: str) -> None:
    await asyncio.to_thread(schema.migrate, url, "0009")
    await _execute(url, _CONVERSATION_OF_0009)
    for revision in (HEAD, "0009", HEAD):
        await asyncio.to_thread(schema.migrate, url, revision)
    database = await Database.open(url)
    try:
        async with database.transaction() as tx:
            assert (await tx.conversations.get("acme", "c1")).title == "Leave"
            assert await tx.summaries.get("acme", "c1") == StoredSummary("", 0)
            assert await tx.summaries.put("acme", "c1", "About leave.", 2, expected=0)
    finally:
        await database.close()


def test_every_table_and_primary_key_begins_with_the_tenant() -> None:
    for table in metadata.tables.values():
        assert next(iter(table.columns)).name == "tenant_id", table.name
        assert next(iter(table.primary_key.columns)).name == "tenant_id", table.name


def test_every_constraint_and_index_has_a_name() -> None:
    for table in metadata.tables.values():
        assert all(constraint.name for constraint in table.constraints), table.name
        assert all(index.name for index in table.indexes), table.name


async def test_migrate_breaking_midway_leaves_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic import op

    def refuse(*_: object, **__: object) -> None:
        raise KeyError("power cut")

    monkeypatch.setattr(op, "create_index", refuse)
    with pytest.raises(KeyError):
        await Database.open(url)
    assert await _tables(url) == set()


async def test_open_many_at_once_migrates_once(url: str) -> None:
    opened = await asyncio.gather(*(Database.open(url) for _ in range(4)))
    await asyncio.gather(*(database.check() for database in opened))
    await asyncio.gather(*(database.close() for database in opened))
    assert await _tables(url) == {*metadata.tables, "alembic_version"}


async def test_open_newer_schema_is_refused_and_untouched(url: str) -> None:
    await (await Database.open(url)).close()
    await _execute(url, "UPDATE alembic_version SET version_num = '9999'")
    before = await _tables(url)
    with pytest.raises(FailedPrecondition) as raised:
        await Database.open(url)
    assert raised.value.reason == "SCHEMA_TOO_NEW"
    assert "'9999'" in str(raised.value)
    assert raised.value.metadata == {"schema": "9999", "supported": HEAD}
    assert await _tables(url) == before


async def test_migrate_on_postgresql_waits_for_another_server_that_migrates() -> None:
    with databases.postgres_database() as name:
        other = await databases.connect(name)
        try:
            async with other.transaction():
                await other.execute(f"SELECT pg_advisory_xact_lock({postgres.MIGRATION_LOCK})")
                opening = asyncio.create_task(Database.open(databases.url_of(name)))
                await asyncio.wait([opening], timeout=0.5)
                assert not opening.done()
                assert await other.fetchval("SELECT to_regclass('collections')") is None
            await (await opening).close()
        finally:
            await other.close()


async def test_migrate_on_postgresql_sorts_text_by_code_point_in_any_database() -> None:
    with databases.postgres_database(
        "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C.UTF-8'"
    ) as name:
        await (await Database.open(databases.url_of(name))).close()
        connection = await databases.connect(name)
        try:
            assert await connection.fetchval("SELECT 'a' < 'B'")  # by the database's own rules
            columns = await connection.fetch(
                "SELECT table_name, column_name, collation_name FROM information_schema.columns"
                " WHERE table_schema = 'public' AND data_type = 'text'"
            )
        finally:
            await connection.close()
    assert len(columns) > 40
    assert {column["collation_name"] for column in columns} == {"C"}


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
