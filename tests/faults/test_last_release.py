"""F14: a database of the last release is taken over with all that is in it, on both kinds of database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from rag_server.domain.change import DocumentChange
from rag_server.domain.job import JobError, JobState
from rag_server.domain.lexical import Bm25
from rag_server.domain.metadata import MetadataType
from rag_server.domain.publication import Publication
from rag_server.domain.sweep import SweepKind
from rag_server.metadata import Database, schema
from rag_server.metadata.engine import create_writer
from rag_server.metadata.tables import metadata

LAST_RELEASE = "0002"
ROWS = Path(__file__).with_name("rows_of_0002.sql")
TENANT = "acme"


@pytest.fixture
async def taken_over(unmigrated_url: str) -> AsyncIterator[Database]:
    await asyncio.to_thread(schema.migrate, unmigrated_url, LAST_RELEASE)
    engine = create_writer(unmigrated_url, is_pooled=False)
    async with engine.begin() as connection:
        for statement in ROWS.read_text(encoding="utf-8").split(";\n"):
            if statement.strip():
                await connection.exec_driver_sql(statement)
    await engine.dispose()
    database = await Database.open(unmigrated_url)
    yield database
    await database.close()


async def test_rows_are_what_they_were(taken_over: Database) -> None:
    async with taken_over.snapshot() as tx:
        collection = await tx.collections.get(TENANT, "papers")
        document = await tx.documents.get(TENANT, "u1", "doc")
        done, unfinished, failed = [await tx.jobs.get(TENANT, name) for name in ("done", "open", "failed")]
        assert await tx.changes.since(TENANT, "u1", 1, limit=10) == [DocumentChange(2, "doc", 2, 3)]
        (sweep,) = await tx.sweeps.next_batch(limit=10)
        assert [job.id for job in await tx.jobs.unfinished()] == ["open"]
        assert await tx.blobs.size(TENANT, "aa") == 9
        assert await tx.blobs.is_referenced(TENANT, "aa")
        assert await tx.blobs.is_referenced(TENANT, "bb")
        (event,) = await tx.jobs.events_after(TENANT, "open", 0)
    assert (collection.bm25, collection.labels, collection.revision) == (Bm25(0.9, 0.4), {"a": "1"}, 2)
    assert collection.metadata_fields == {"year": MetadataType.INTEGER}
    assert (document.title, document.metadata, document.revision) == ("Título", {"year": 2020}, 2)
    assert (done.state, unfinished.state, failed.state) == (
        JobState.SUCCEEDED,
        JobState.EMBEDDING,
        JobState.FAILED,
    )
    assert event == unfinished
    assert failed.error == JobError("DOCUMENT_EMPTY", "the document has no bytes", {"a": "b"})
    assert (sweep.kind, sweep.before_revision) == (SweepKind.DOCUMENT_REVISIONS, 2)


async def test_job_that_the_last_release_began_can_be_finished(taken_over: Database) -> None:
    publication = Publication("Título", "text/plain", "bb", 9, "en", 4, 30)
    async with taken_over.transaction() as tx:
        job = await tx.documents.publish(TENANT, "open", publication)
    async with taken_over.snapshot() as tx:
        document = await tx.documents.get(TENANT, "u1", "doc")
        changes = await tx.changes.since(TENANT, "u1", 2, limit=10)
    assert (job.state, job.sequence) == (JobState.SUCCEEDED, 2)
    assert (document.revision, document.metadata, document.chunk_count) == (3, {"year": 2021}, 4)
    assert changes == [DocumentChange(3, "doc", 3, 4)]


async def test_tables_are_those_of_a_new_database(taken_over: Database) -> None:
    def compare(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    async with taken_over._writer.connect() as connection:
        assert await connection.run_sync(compare) == []
