from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from rag_server.domain.collection import Collection, TokenChunking
from rag_server.domain.document import NewDocument
from rag_server.domain.job import Job, JobState
from rag_server.domain.publication import Publication
from rag_server.domain.sweep import SweepKind
from rag_server.errors import NotFound
from rag_server.metadata import Database

TENANT = "acme"
Submit = Callable[..., Awaitable[Job]]
MakePublication = Callable[..., Publication]
RECIPE = "r" * 64


@pytest.fixture
def ingest(database: Database, submit: Submit, publication: MakePublication) -> Callable[..., Awaitable[Job]]:
    """Make a revision whose bytes have the digest of one letter, repeated."""

    async def ingest(letter: str, *, kept: int = 3, recipe: str = RECIPE) -> Job:
        job = await submit(sha256=letter * 64)
        async with database.transaction() as tx:
            made = replace(publication(sha256=letter * 64), recipe=recipe)
            return await tx.documents.publish(TENANT, job.id, made, kept_revisions=kept)

    return ingest


Ingest = Callable[..., Awaitable[Job]]


async def swept_blobs(database: Database) -> list[str]:
    async with database.snapshot() as tx:
        due = await tx.sweeps.next_batch(limit=100)
    return [sweep.sha256[0] for sweep in due if sweep.kind is SweepKind.BLOB]


async def test_history_shows_revisions_newest_first_as_they_were_handed_in(
    database: Database, collection: Collection, ingest: Ingest
) -> None:
    await ingest("a")
    await ingest("b")
    async with database.snapshot() as tx:
        second, first = await tx.history.list(TENANT, collection.uid, "doc", limit=10, collection_id="papers")
        assert await tx.history.newest(TENANT, collection.uid, "doc", collection_id="papers") == second
        assert await tx.history.get(TENANT, collection.uid, "doc", 1, collection_id="papers") == first
        page = await tx.history.list(TENANT, collection.uid, "doc", before=2, limit=10)
    assert [each.revision for each in page] == [1]
    assert (second.revision, second.sha256[0], first.sha256[0]) == (2, "b", "a")
    assert first.document == NewDocument("papers", "doc", source_uri="file:x")
    assert (first.title, first.media_type, first.chunk_count, first.recipe) == (
        "A title",
        "text/plain",
        3,
        RECIPE,
    )
    assert first.chunking == TokenChunking()
    assert first.create_time < second.create_time


async def test_history_beyond_the_kept_is_forgotten_with_its_bytes(
    database: Database, collection: Collection, ingest: Ingest
) -> None:
    for letter in "abcde":
        await ingest(letter, kept=2)
    async with database.snapshot() as tx:
        kept = await tx.history.list(TENANT, collection.uid, "doc", limit=10)
        assert [each.sha256[0] for each in kept] == ["e", "d"]
        assert await tx.blobs.is_referenced(TENANT, "d" * 64)
        assert not await tx.blobs.is_referenced(TENANT, "c" * 64)
        for gone in (1, 3, 6):
            with pytest.raises(NotFound) as caught:
                await tx.history.get(TENANT, collection.uid, "doc", gone)
            assert caught.value.reason == "REVISION_NOT_FOUND"
    assert await swept_blobs(database) == ["a", "b", "c"]


async def test_history_of_a_deleted_document_is_gone_and_does_not_come_back(
    database: Database, collection: Collection, ingest: Ingest
) -> None:
    await ingest("a")
    await ingest("b")
    async with database.transaction() as tx:
        await tx.documents.delete(TENANT, collection.uid, "doc")
    assert sorted(await swept_blobs(database)) == ["a", "b"]
    async with database.snapshot() as tx:
        assert await tx.history.list(TENANT, collection.uid, "doc", limit=10) == []
    await ingest("c")
    async with database.snapshot() as tx:
        assert [each.revision for each in await tx.history.list(TENANT, collection.uid, "doc", limit=9)] == [
            3
        ]


async def test_history_goes_with_its_collection_and_all_bytes_are_swept(
    database: Database, collection: Collection, ingest: Ingest
) -> None:
    await ingest("a")
    await ingest("b")
    async with database.transaction() as tx:
        await tx.collections.delete(TENANT, "papers")
        assert not await tx.blobs.is_referenced(TENANT, "a" * 64)
    assert sorted(await swept_blobs(database)) == ["a", "b"]
    async with database.snapshot() as tx:
        assert await tx.history.list(TENANT, collection.uid, "doc", limit=10) == []


async def test_history_blobs_are_paged_each_once(
    database: Database, collection: Collection, ingest: Ingest
) -> None:
    for letter in "cabac":
        await ingest(letter, kept=9)
    async with database.snapshot() as tx:
        first = await tx.history.blobs(TENANT, collection.uid, limit=2)
        rest = await tx.history.blobs(TENANT, collection.uid, after_sha256=first[-1][0], limit=2)
    assert [(sha256[0], size) for sha256, size in first + rest] == [("a", 120), ("b", 120), ("c", 120)]


async def test_keep_ends_a_job_without_a_revision(
    database: Database, collection: Collection, submit: Submit, ingest: Ingest
) -> None:
    await ingest("a")
    job = await submit()
    async with database.transaction() as tx:
        before = await tx.collections.get(TENANT, "papers")
        ended = await tx.documents.keep(TENANT, job.id, 1)
        assert await tx.collections.get(TENANT, "papers") == before
    assert ended is not None
    assert (ended.state, ended.document_revision) == (JobState.SUCCEEDED, 1)
    assert ended.progress.is_unchanged
    assert (ended.progress.reused_chunk_count, ended.progress.embedded_chunk_count) == (3, 0)
    async with database.snapshot() as tx:
        assert await tx.jobs.get(TENANT, job.id) == ended
        assert len(await tx.history.list(TENANT, collection.uid, "doc", limit=10)) == 1
    assert await swept_blobs(database) == []


async def test_keep_beside_an_earlier_job_is_not_possible(
    database: Database, collection: Collection, submit: Submit, ingest: Ingest
) -> None:
    """Else that one would publish later, and hide the content that was handed in after its own."""
    await ingest("a")
    earlier = await submit(sha256="b" * 64)
    later = await submit()
    async with database.transaction() as tx:
        assert await tx.documents.keep(TENANT, later.id, 1) is None
        assert await tx.jobs.get(TENANT, later.id) == later
        await tx.jobs.change(TENANT, earlier.id, state=JobState.FAILED)
        assert await tx.documents.keep(TENANT, later.id, 1) is not None


async def test_keep_of_what_is_not_visible_or_not_whole_is_not_possible(
    database: Database, collection: Collection, submit: Submit, ingest: Ingest
) -> None:
    await ingest("a")
    await ingest("b")
    job = await submit()
    async with database.transaction() as tx:
        assert await tx.documents.keep(TENANT, job.id, 1) is None
        await tx.history.distrust(TENANT, collection.uid, "doc", 2)
        assert await tx.documents.keep(TENANT, job.id, 2) is None
        kept = await tx.history.get(TENANT, collection.uid, "doc", 2)
        assert kept.recipe == ""


async def test_keep_of_a_cancelled_job_cancels_it(database: Database, submit: Submit, ingest: Ingest) -> None:
    await ingest("a")
    job = await submit()
    async with database.transaction() as tx:
        await tx.jobs.change(TENANT, job.id, state=JobState.PARSING)
        await tx.jobs.request_cancel(TENANT, job.id)
        ended = await tx.documents.keep(TENANT, job.id, 1)
    assert ended is not None
    assert ended.state is JobState.CANCELLED


async def test_keep_after_a_broken_attempt_sweeps_what_that_wrote(
    database: Database, submit: Submit, ingest: Ingest
) -> None:
    await ingest("a")
    job = await submit()
    async with database.transaction() as tx:
        await tx.jobs.change(TENANT, job.id, state=JobState.PARSING, attempt_count=2)
        await tx.documents.keep(TENANT, job.id, 1)
        due = await tx.sweeps.next_batch(limit=10)
    assert [(sweep.kind, sweep.revision) for sweep in due] == [(SweepKind.DOCUMENT_REVISIONS, 2)]
