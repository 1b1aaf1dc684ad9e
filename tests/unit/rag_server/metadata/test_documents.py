from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from rag_server.domain.collection import Collection
from rag_server.domain.job import Job, JobState
from rag_server.domain.metadata import Metadata
from rag_server.domain.publication import Publication
from rag_server.domain.sweep import Sweep, SweepKind
from rag_server.errors import FailedPrecondition, NotFound
from rag_server.metadata import Database

TENANT = "acme"
Submit = Callable[..., Awaitable[Job]]
Publish = Callable[..., Awaitable[Job]]


async def _sweeps(database: Database) -> list[Sweep]:
    async with database.snapshot() as tx:
        return await tx.sweeps.next_batch(limit=100)


async def _collection(database: Database) -> Collection:
    async with database.snapshot() as tx:
        return await tx.collections.get(TENANT, "papers")


async def test_publish_first_revision_makes_document_visible(
    database: Database, collection: Collection, submit: Submit, publish: Publish
) -> None:
    metadata: Metadata = {
        "year": 2020,
        "score": 1.0,
        "draft": False,
        "when": datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        "tags": ("a", "b"),
        "name": "ñ",
    }
    job = await submit(metadata=metadata)
    finished = await publish(job)
    async with database.snapshot() as tx:
        document = await tx.documents.get(TENANT, collection.uid, "doc")
        assert await tx.jobs.get(TENANT, job.id) == finished
    assert finished.state is JobState.SUCCEEDED
    assert finished.end_time is not None
    assert finished.progress.indexed_chunk_count == 3
    assert document.revision == job.document_revision == 1
    assert document.metadata == metadata
    assert {name: type(value) for name, value in document.metadata.items()} == {
        name: type(value) for name, value in metadata.items()
    }
    assert document.source_uri == "file:x"
    after = await _collection(database)
    assert (after.revision, after.document_count, after.chunk_count) == (1, 1, 3)
    assert await _sweeps(database) == []


async def test_publish_next_revision_replaces_and_sweeps_the_older(
    database: Database, collection: Collection, submit: Submit, publish: Publish
) -> None:
    await publish(await submit())
    async with database.snapshot() as tx:
        first = await tx.documents.get(TENANT, collection.uid, "doc")
    await publish(await submit(sha256="b" * 64), sha256="b" * 64, chunks=5)
    async with database.snapshot() as tx:
        second = await tx.documents.get(TENANT, collection.uid, "doc")
    assert (second.revision, second.sha256) == (2, "b" * 64)
    assert second.create_time == first.create_time
    assert second.update_time > first.update_time
    after = await _collection(database)
    assert (after.revision, after.document_count, after.chunk_count) == (2, 1, 5)
    (revisions,) = await _sweeps(database)  # the bytes stay: the revision can be restored
    assert (revisions.kind, revisions.document_id, revisions.before_revision, revisions.revision) == (
        SweepKind.DOCUMENT_REVISIONS,
        "doc",
        2,
        None,
    )


async def test_publish_same_bytes_again_keeps_the_blob(
    database: Database, submit: Submit, publish: Publish
) -> None:
    await publish(await submit())
    await publish(await submit())
    assert [sweep.kind for sweep in await _sweeps(database)] == [SweepKind.DOCUMENT_REVISIONS]


async def test_publish_straggler_is_superseded_and_changes_nothing(
    database: Database, collection: Collection, submit: Submit, publish: Publish
) -> None:
    older, newer = await submit(sha256="b" * 64), await submit()
    await publish(newer)
    before = await _collection(database)
    straggler = await publish(older, sha256="b" * 64, chunks=9)
    assert straggler.state is JobState.FAILED
    assert straggler.error is not None
    assert straggler.error.reason == "SUPERSEDED"
    assert await _collection(database) == before
    async with database.snapshot() as tx:
        assert await tx.documents.revisions_of(TENANT, collection.uid, ["doc"]) == {"doc": 2}
    # its bytes stay for a while: the job has failed, and may be retried
    (revisions,) = await _sweeps(database)
    assert (revisions.revision, revisions.before_revision) == (1, None)


async def test_publish_cancel_requested_ends_cancelled_and_unseen(
    database: Database, collection: Collection, submit: Submit, publish: Publish
) -> None:
    job = await submit()
    async with database.transaction() as tx:
        await tx.jobs.change(TENANT, job.id, state=JobState.EMBEDDING)
        assert (await tx.jobs.request_cancel(TENANT, job.id)).state is JobState.EMBEDDING
    assert (await publish(job)).state is JobState.CANCELLED
    async with database.snapshot() as tx:
        with pytest.raises(NotFound):
            await tx.documents.get(TENANT, collection.uid, "doc")
    assert (await _collection(database)).revision == 0


async def test_publish_finished_job_is_refused(database: Database, submit: Submit, publish: Publish) -> None:
    job = await submit()
    await publish(job)
    before = await _collection(database)
    with pytest.raises(FailedPrecondition) as raised:
        await publish(job)
    assert raised.value.reason == "JOB_ALREADY_FINISHED"
    assert await _collection(database) == before


async def test_publish_breaking_midway_leaves_the_older_revision(
    database: Database,
    collection: Collection,
    submit: Submit,
    publish: Publish,
    publication: Callable[..., Publication],
) -> None:
    await publish(await submit())
    job = await submit(sha256="b" * 64)

    async def publish_and_break() -> None:
        async with database.transaction() as tx:
            await tx.documents.publish(TENANT, job.id, publication(sha256="b" * 64))
            raise KeyError("power cut")

    with pytest.raises(KeyError):
        await publish_and_break()
    async with database.snapshot() as tx:
        assert (await tx.documents.get(TENANT, collection.uid, "doc")).revision == 1
        assert await tx.jobs.get(TENANT, job.id) == job
        assert len(await tx.jobs.events_after(TENANT, job.id, 0)) == 1
    assert await _sweeps(database) == []


async def test_delete_visible_document_removes_row_counts_and_leaves_sweeps(
    database: Database, collection: Collection, submit: Submit, publish: Publish
) -> None:
    await publish(await submit())
    async with database.transaction() as tx:
        await tx.documents.delete(TENANT, collection.uid, "doc")
    async with database.snapshot() as tx:
        assert await tx.documents.list(TENANT, collection.uid, limit=10) == []
    after = await _collection(database)
    assert (after.revision, after.document_count, after.chunk_count) == (2, 0, 0)
    revisions, blob = await _sweeps(database)
    assert (revisions.before_revision, blob.sha256) == (2, "a" * 64)


async def test_delete_absent_document_is_not_found(database: Database, collection: Collection) -> None:
    async with database.transaction() as tx:
        with pytest.raises(NotFound) as raised:
            await tx.documents.delete(TENANT, collection.uid, "doc")
    assert raised.value.reason == "DOCUMENT_NOT_FOUND"


@pytest.mark.parametrize("was_published", [False, True])
async def test_delete_during_ingest_wins_for_ever(
    database: Database, collection: Collection, submit: Submit, publish: Publish, was_published: bool
) -> None:
    if was_published:
        await publish(await submit())
    queued, running = await submit(), await submit()
    async with database.transaction() as tx:
        await tx.jobs.change(TENANT, running.id, state=JobState.INDEXING)
    async with database.transaction() as tx:
        await tx.documents.delete(TENANT, collection.uid, "doc")
    with pytest.raises(FailedPrecondition):
        await publish(queued)
    assert (await publish(running)).state is JobState.CANCELLED
    async with database.snapshot() as tx:
        assert await tx.documents.revisions_of(TENANT, collection.uid, ["doc"]) == {}
        assert (await tx.jobs.get(TENANT, queued.id)).state is JobState.CANCELLED
    assert running.document_revision in {sweep.revision for sweep in await _sweeps(database)}


async def test_delete_then_ingest_again_takes_a_new_revision_that_no_sweep_covers(
    database: Database, collection: Collection, submit: Submit, publish: Publish
) -> None:
    await publish(await submit())
    async with database.transaction() as tx:
        await tx.documents.delete(TENANT, collection.uid, "doc")
    again = await submit()
    await publish(again)
    assert again.document_revision == 2
    async with database.snapshot() as tx:
        assert await tx.documents.revisions_of(TENANT, collection.uid, ["doc"]) == {"doc": 2}
    for sweep in await _sweeps(database):
        assert sweep.before_revision is None or sweep.before_revision <= 2


async def test_revisions_of_many_ids_returns_only_visible(
    database: Database, collection: Collection, submit: Submit, publish: Publish
) -> None:
    for name in ("doc-3", "doc-1700"):
        await publish(await submit(name))
    await submit("doc-5")
    async with database.snapshot() as tx:
        ids = [f"doc-{number}" for number in range(1800)]
        found = await tx.documents.revisions_of(TENANT, collection.uid, [*ids, *ids])
        assert await tx.documents.revisions_of(TENANT, collection.uid, []) == {}
    assert found == {"doc-3": 1, "doc-1700": 1}


async def test_list_pages_are_ordered_and_complete(
    database: Database, collection: Collection, submit: Submit, publish: Publish
) -> None:
    for name in ("c", "a", "b"):
        await publish(await submit(name))
    async with database.snapshot() as tx:
        first = await tx.documents.list(TENANT, collection.uid, limit=2)
        second = await tx.documents.list(TENANT, collection.uid, after_id=first[-1].id, limit=2)
    assert [document.id for document in (*first, *second)] == ["a", "b", "c"]
