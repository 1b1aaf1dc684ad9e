from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from rag_server.domain.collection import CharacterChunking, Collection, NewCollection, TokenChunking
from rag_server.domain.document import NewDocument
from rag_server.domain.job import Job, JobError, JobProgress, JobState
from rag_server.domain.sweep import SweepKind
from rag_server.errors import FailedPrecondition, NotFound, Unavailable
from rag_server.metadata import Database

TENANT = "acme"
Submit = Callable[..., Awaitable[Job]]
Publish = Callable[..., Awaitable[Job]]


async def test_create_returns_what_get_returns(database: Database, collection: Collection) -> None:
    new = NewDocument(
        collection.id,
        "doc",
        "T",
        "https://x",
        "f.txt",
        "text/plain",
        {"when": datetime(2020, 1, 1, tzinfo=UTC)},
    )
    chunking = CharacterChunking(500, 50)
    async with database.transaction() as tx:
        job = await tx.jobs.create(
            TENANT,
            collection.uid,
            new,
            chunking=chunking,
            fetch_uri="https://x",
            size_bytes=7,
            request_id="r",
        )
    async with database.snapshot() as tx:
        assert await tx.jobs.get(TENANT, job.id) == job
        assert await tx.jobs.collection_uid(TENANT, job.id) == collection.uid
        assert (await tx.collections.of_job(TENANT, job.id)).uid == collection.uid
    assert (job.document, job.chunking, job.fetch_uri, job.request_id) == (new, chunking, "https://x", "r")
    assert (job.state, job.sequence, job.document_revision) == (JobState.QUEUED, 1, 1)
    assert job.progress == JobProgress(size_bytes=7)
    assert (job.start_time, job.end_time, job.error) == (None, None, None)


async def test_create_unknown_collection_is_not_found(database: Database) -> None:
    async with database.transaction() as tx:
        with pytest.raises(NotFound):
            await tx.jobs.create(TENANT, "f" * 32, NewDocument("papers", "doc"), chunking=TokenChunking())


async def test_create_same_document_twice_counts_revisions_per_document(submit: Submit) -> None:
    jobs = [await submit("a"), await submit("a"), await submit("b")]
    assert [job.document_revision for job in jobs] == [1, 2, 1]


async def test_create_rolled_back_gives_the_number_out_again(
    database: Database, collection: Collection, submit: Submit
) -> None:
    async def create_and_break() -> None:
        async with database.transaction() as tx:
            await tx.jobs.create(
                TENANT, collection.uid, NewDocument("papers", "doc"), chunking=TokenChunking()
            )
            raise KeyError("power cut")

    with pytest.raises(KeyError):
        await create_and_break()
    async with database.snapshot() as tx:
        assert await tx.jobs.list(TENANT, limit=10) == []
    assert (await submit("doc")).document_revision == 1


async def test_change_every_field_is_recorded_as_an_event(database: Database, submit: Submit) -> None:
    job = await submit(sha256="")
    seen = [job]
    async with database.transaction() as tx:
        seen.append(await tx.jobs.change(TENANT, job.id, state=JobState.FETCHING, attempt_count=1))
        seen.append(await tx.jobs.change(TENANT, job.id, content_sha256="c" * 64))
        seen.append(await tx.jobs.change(TENANT, job.id, progress=JobProgress(chunk_count=4)))
        seen.append(await tx.jobs.change(TENANT, job.id, cancel_requested=True))
        error = JobError("EMPTY_DOCUMENT", "nothing in it", {"a": "b"})
        seen.append(await tx.jobs.change(TENANT, job.id, state=JobState.FAILED, error=error))
    async with database.snapshot() as tx:
        assert await tx.jobs.events_after(TENANT, job.id, 0) == seen
        assert await tx.jobs.events_after(TENANT, job.id, 2, limit=2) == seen[2:4]
        assert await tx.jobs.events_after(TENANT, job.id, 6) == []
        assert await tx.jobs.get(TENANT, job.id) == seen[-1]
    assert [change.sequence for change in seen] == [1, 2, 3, 4, 5, 6]
    assert seen[1].start_time == seen[-1].start_time == seen[1].update_time
    assert seen[-1].end_time == seen[-1].update_time
    assert seen[-1].error == error


async def test_change_to_failed_sweeps_the_chunks_and_keeps_the_bytes(
    database: Database, collection: Collection, submit: Submit
) -> None:
    job = await submit(sha256="c" * 64)
    async with database.transaction() as tx:
        await tx.jobs.change(TENANT, job.id, state=JobState.FAILED, error=JobError("X", "x"))
    async with database.snapshot() as tx:
        (revisions,) = await tx.sweeps.next_batch(limit=10)
    assert (revisions.kind, revisions.collection_uid, revisions.revision) == (
        SweepKind.DOCUMENT_REVISIONS,
        collection.uid,
        1,
    )


async def test_change_to_cancelled_sweeps_what_the_job_wrote(
    database: Database, collection: Collection, submit: Submit
) -> None:
    job = await submit(sha256="c" * 64)
    async with database.transaction() as tx:
        await tx.jobs.change(TENANT, job.id, state=JobState.CANCELLED)
    async with database.snapshot() as tx:
        revisions, blob = await tx.sweeps.next_batch(limit=10)
    assert (revisions.kind, revisions.collection_uid, revisions.revision) == (
        SweepKind.DOCUMENT_REVISIONS,
        collection.uid,
        1,
    )
    assert (blob.kind, blob.sha256) == (SweepKind.BLOB, "c" * 64)


@pytest.mark.parametrize("final", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
async def test_change_finished_job_is_refused(
    database: Database, submit: Submit, publish: Publish, final: JobState
) -> None:
    job = await submit()
    if final is JobState.SUCCEEDED:
        await publish(job)
    else:
        async with database.transaction() as tx:
            await tx.jobs.change(TENANT, job.id, state=final)
    async with database.transaction() as tx:
        with pytest.raises(FailedPrecondition) as raised:
            await tx.jobs.change(TENANT, job.id, state=JobState.QUEUED)
        with pytest.raises(FailedPrecondition):
            await tx.jobs.request_cancel(TENANT, job.id)
    assert raised.value.reason == "JOB_ALREADY_FINISHED"
    assert raised.value.metadata["state"] == final


async def test_change_to_succeeded_without_publishing_is_a_mistake(
    database: Database, submit: Submit
) -> None:
    job = await submit()
    async with database.transaction() as tx:
        with pytest.raises(ValueError, match="publishing"):
            await tx.jobs.change(TENANT, job.id, state=JobState.SUCCEEDED)


async def test_request_cancel_queued_job_ends_at_once(database: Database, submit: Submit) -> None:
    job = await submit()
    async with database.transaction() as tx:
        cancelled = await tx.jobs.request_cancel(TENANT, job.id)
    assert (cancelled.state, cancelled.cancel_requested) == (JobState.CANCELLED, True)


async def test_request_cancel_running_job_twice_is_one_event(database: Database, submit: Submit) -> None:
    job = await submit()
    async with database.transaction() as tx:
        await tx.jobs.change(TENANT, job.id, state=JobState.PARSING)
        first = await tx.jobs.request_cancel(TENANT, job.id)
        second = await tx.jobs.request_cancel(TENANT, job.id)
    assert first == second
    assert (first.state, first.cancel_requested, first.sequence) == (JobState.PARSING, True, 3)


async def test_list_filters_and_pages_newest_first(
    database: Database, collection: Collection, submit: Submit, publish: Publish
) -> None:
    jobs = [await submit(name) for name in ("a", "b", "a", "c")]
    await publish(jobs[1])
    async with database.snapshot() as tx:
        everything = await tx.jobs.list(TENANT, limit=10)
        page = await tx.jobs.list(TENANT, limit=3)
        rest = await tx.jobs.list(TENANT, limit=3, after=(page[-1].create_time, page[-1].id))
        of_a = await tx.jobs.list(TENANT, document_id="a", collection_uid=collection.uid, limit=10)
        done = await tx.jobs.list(TENANT, states={JobState.SUCCEEDED, JobState.FAILED}, limit=10)
        none = await tx.jobs.list(TENANT, collection_uid="0" * 32, limit=10)
        assert await tx.jobs.list(TENANT, states=set(), limit=10) == []
    assert [job.id for job in everything] == [job.id for job in reversed(jobs)]
    assert [*page, *rest] == everything
    assert [job.id for job in of_a] == [jobs[2].id, jobs[0].id]
    assert [job.id for job in done] == [jobs[1].id]
    assert none == []


async def test_list_jobs_of_one_instant_are_paged_by_id(url: str) -> None:
    database = await Database.open(url, clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    try:
        async with database.transaction() as tx:
            made = await tx.collections.create(TENANT, NewCollection("c"), embedding_model="m", dimension=4)
            for number in range(5):
                new = NewDocument("c", f"d{number}")
                await tx.jobs.create(TENANT, made.uid, new, chunking=TokenChunking())
        found: list[str] = []
        async with database.snapshot() as tx:
            page = await tx.jobs.list(TENANT, limit=2)
            while page:
                found += [job.id for job in page]
                page = await tx.jobs.list(TENANT, limit=2, after=(page[-1].create_time, page[-1].id))
    finally:
        await database.close()
    assert found == sorted(set(found), reverse=True)
    assert len(found) == 5


async def test_unfinished_after_restart_lists_every_accepted_job_oldest_first(
    database: Database, submit: Submit, publish: Publish, url: str
) -> None:
    jobs = [await submit(name) for name in "abcd"]
    await publish(jobs[1])
    async with database.transaction() as tx:
        await tx.jobs.change(TENANT, jobs[2].id, state=JobState.EMBEDDING)
    await database.close()
    reopened = await Database.open(url)
    try:
        async with reopened.snapshot() as tx:
            found = await tx.jobs.unfinished()
            count = await tx.jobs.count_unfinished(TENANT)
            first = await tx.jobs.unfinished(limit=2)
            rest = await tx.jobs.unfinished(after=(first[-1].create_time, first[-1].id))
    finally:
        await reopened.close()
    assert count == 3
    assert [(job.id, job.state) for job in found] == [
        (jobs[0].id, JobState.QUEUED),
        (jobs[2].id, JobState.EMBEDDING),
        (jobs[3].id, JobState.QUEUED),
    ]
    assert [*first, *rest] == list(found)


async def test_jobs_of_a_commit_without_an_answer_are_told_to_whoever_watches(
    database: Database, collection: Collection, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await submit()
    told: list[str] = []
    database.on_jobs_changed(lambda jobs: told.extend(each.id for each in jobs))
    commit = AsyncSession.commit

    async def commit_and_lose_the_answer(session: AsyncSession) -> None:
        await commit(session)
        raise Unavailable("METADATA_STORE_UNAVAILABLE", "the answer was lost")

    monkeypatch.setattr(AsyncSession, "commit", commit_and_lose_the_answer)
    with pytest.raises(Unavailable):
        async with database.transaction() as tx:
            await tx.jobs.change(TENANT, job.id, state=JobState.FETCHING)
    assert told == [job.id]
