from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ingest_worker.fetch import FetchedDocument
from ingest_worker.pipeline import JobCancelled
from rag_server.domain.document import chunk_id
from rag_server.domain.job import Job, JobState
from rag_server.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from rag_server.testing.fakes import HashEmbedder
from tests.unit.ingest_worker.conftest import BATCH, LONG, TENANT, Workshop


async def events(workshop: Workshop, job: Job) -> list[Job]:
    async with workshop.database.snapshot() as tx:
        return list(await tx.jobs.events_after(TENANT, job.id, 0))


async def test_pipeline_takes_a_job_through_all_stages_in_order(workshop: Workshop) -> None:
    job = await workshop.pipeline.run(await workshop.accept())
    assert job.state is JobState.SUCCEEDED
    states = [event.state for event in await events(workshop, job)]
    order = list(JobState)
    assert states == sorted(states, key=order.index)
    # FETCHING is the consumer's to record, with the attempt.
    assert set(states) == set(order) - {JobState.FETCHING, JobState.FAILED, JobState.CANCELLED}


async def test_pipeline_progress_grows_to_the_whole(workshop: Workshop) -> None:
    job = await workshop.pipeline.run(await workshop.accept())
    counts = [event.progress.indexed_chunk_count for event in await events(workshop, job)]
    assert counts == sorted(counts)
    assert counts[-1] == job.progress.chunk_count == len(workshop.rows.rows)
    assert job.progress.size_bytes == len(LONG)
    assert job.progress.token_count == sum(row.token_count for row in workshop.visible())


async def test_pipeline_writes_batches_of_at_most_the_size(workshop: Workshop) -> None:
    await workshop.pipeline.run(await workshop.accept())
    sizes = [len(batch) for batch in workshop.rows.written]
    assert len(sizes) > 2
    assert set(sizes[:-1]) == {BATCH}
    assert 0 < sizes[-1] <= BATCH


async def test_pipeline_rows_are_the_document_in_order(workshop: Workshop) -> None:
    await workshop.accept(title="Given", source_uri="file:x", metadata={"year": 1990})
    async with workshop.database.snapshot() as tx:
        (job,) = await tx.jobs.list(TENANT, limit=2)
    await workshop.pipeline.run(job)
    rows = workshop.visible()
    assert [row.ordinal for row in rows] == list(range(len(rows)))
    assert all(LONG[row.span.start : row.span.end] == row.text for row in rows)
    assert {(row.title, row.source_uri, row.media_type) for row in rows} == {
        ("Given", "file:x", "text/plain")
    }
    assert {row.id for row in rows} == {
        chunk_id(TENANT, workshop.collection.uid, "doc", 1, number) for number in range(len(rows))
    }
    assert workshop.rows.metadata[0] == {"year": 1990}


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({"title": "Given", "file_name": "a.md"}, "Given"),
        ({"file_name": "folder/a.md"}, "Found"),
        ({"file_name": "folder/a.txt"}, "a.txt"),
    ],
)
async def test_pipeline_title_is_the_callers_then_the_documents_then_the_files(
    workshop: Workshop, fields: dict[str, Any], title: str
) -> None:
    await workshop.pipeline.run(await workshop.accept("# Found\n\nSome text.", **fields))
    assert workshop.visible()[0].title == title


async def test_pipeline_run_again_writes_the_same_rows(workshop: Workshop) -> None:
    job = await workshop.accept()

    async def fail_at_the_third(batch: int) -> None:
        if batch == 2:
            raise Unavailable("VECTOR_STORE_UNAVAILABLE", "m")

    workshop.rows.before_upsert = fail_at_the_third
    with pytest.raises(Unavailable):
        await workshop.pipeline.run(job)
    first = [name for batch in workshop.rows.written for name in batch]
    workshop.rows.before_upsert = None
    workshop.rows.written.clear()
    done = await workshop.pipeline.run(job)
    again = [name for batch in workshop.rows.written for name in batch]
    assert again[: len(first)] == first
    assert len(again) == len(set(again)) == len(workshop.rows.rows) == done.progress.chunk_count


async def test_pipeline_run_again_removes_what_the_first_cut_differently(workshop: Workshop) -> None:
    job = await workshop.accept("one short text")
    other = await workshop.accept(LONG, "other")
    await workshop.pipeline.run(other)
    stray = workshop.visible()[0]
    left_over = chunk_id(TENANT, workshop.collection.uid, "doc", 1, 99)
    workshop.rows.rows[left_over] = type(stray)(
        **{
            **{name: getattr(stray, name) for name in stray.__slots__},
            "id": left_over,
            "document_id": "doc",
            "ordinal": 99,
        }
    )
    workshop.rows.uid_of[left_over] = workshop.collection.uid
    await workshop.pipeline.run(job)
    assert [row.ordinal for row in workshop.visible() if row.document_id == "doc"] == [0]
    assert len([row for row in workshop.visible() if row.document_id == "other"]) > 5


async def test_pipeline_cancelled_job_stops_at_the_next_batch(workshop: Workshop) -> None:
    job = await workshop.accept()

    async def cancel_during_the_second(batch: int) -> None:
        if batch == 1:
            async with workshop.database.transaction() as tx:
                await tx.jobs.request_cancel(TENANT, job.id)

    async with workshop.database.transaction() as tx:
        await tx.jobs.change(TENANT, job.id, state=JobState.FETCHING)
    workshop.rows.before_upsert = cancel_during_the_second
    with pytest.raises(JobCancelled):
        await workshop.pipeline.run(job)
    assert len(workshop.rows.written) == 2


async def test_pipeline_cancelled_after_the_last_row_publishes_nothing(workshop: Workshop) -> None:
    job = await workshop.accept("one short text")
    change = type(workshop.pipeline)._enter

    async with workshop.database.transaction() as tx:
        await tx.jobs.change(TENANT, job.id, state=JobState.FETCHING)

    class Late(type(workshop.pipeline)):  # type: ignore[misc]  # a pipeline that is cancelled at the end
        async def _enter(self, job: Job, state: JobState, progress: object) -> None:
            await change(self, job, state, progress)  # type: ignore[arg-type]  # passed on
            if state is JobState.INDEXING:
                async with workshop.database.transaction() as tx:
                    await tx.jobs.request_cancel(TENANT, job.id)

    pipeline = workshop.pipeline
    late = Late(**{name: getattr(pipeline, name) for name in pipeline.__dataclass_fields__})
    ended = await late.run(job)
    assert ended.state is JobState.CANCELLED
    async with workshop.database.snapshot() as tx:
        with pytest.raises(NotFound):
            await tx.documents.get(TENANT, workshop.collection.uid, "doc")


@pytest.mark.parametrize(
    ("data", "fields", "reason"),
    [
        (b"%PDF-1.7 broken", {}, "DOCUMENT_CORRUPT"),
        (b" \n", {}, "DOCUMENT_EMPTY"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), {}, "UNSUPPORTED_MEDIA_TYPE"),
        (b"plain text", {"media_type": "application/pdf"}, "MEDIA_TYPE_MISMATCH"),
    ],
)
async def test_pipeline_bad_document_raises_its_reason_and_writes_nothing(
    workshop: Workshop, data: bytes, fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await workshop.pipeline.run(await workshop.accept(data, **fields))
    assert caught.value.reason == reason
    assert workshop.rows.rows == {}


async def test_pipeline_missing_bytes_are_an_error(workshop: Workshop) -> None:
    job = await workshop.accept()
    await workshop.blobs.delete(TENANT, job.content_sha256)
    with pytest.raises(NotFound) as caught:
        await workshop.pipeline.run(job)
    assert caught.value.reason == "BLOB_NOT_FOUND"


async def test_pipeline_uri_is_fetched_once_and_kept(workshop: Workshop) -> None:
    job = await workshop.accept(uri="https://e.org/p")
    workshop.rows.fill_first = [Unavailable("VECTOR_STORE_UNAVAILABLE", "m")]
    with pytest.raises(Unavailable):
        await workshop.pipeline.run(job)
    job = await workshop.job(job.id)
    assert await workshop.blobs.read(TENANT, job.content_sha256) == workshop.fetches.document.data
    done = await workshop.pipeline.run(job)
    assert workshop.fetches.count == 1
    assert done.state is JobState.SUCCEEDED


async def test_pipeline_uri_second_attempt_takes_the_document_for_the_same_format(workshop: Workshop) -> None:
    job = await workshop.accept(uri="https://e.org/p")
    workshop.rows.fill_first = [Unavailable("VECTOR_STORE_UNAVAILABLE", "m")]
    with pytest.raises(Unavailable):
        await workshop.pipeline.run(job)
    await workshop.pipeline.run(await workshop.job(job.id))
    (row,) = workshop.visible()
    assert (row.media_type, row.title, row.heading_path) == ("text/markdown", "Heron", ("Heron",))


async def test_pipeline_uri_what_the_caller_declares_wins(workshop: Workshop) -> None:
    workshop.fetches.document = FetchedDocument(b"# Heron", "text/markdown", "page.md")
    job = await workshop.accept(uri="https://e.org/p", media_type="text/plain", file_name="mine.txt")
    await workshop.pipeline.run(job)
    (row,) = workshop.visible()
    assert (row.media_type, row.title) == ("text/plain", "mine.txt")


async def test_pipeline_of_a_deleted_collection_is_not_found(workshop: Workshop) -> None:
    job = await workshop.accept()
    async with workshop.database.transaction() as tx:
        await tx.collections.delete(TENANT, "books")
    with pytest.raises(NotFound):
        await workshop.pipeline.run(job)
    assert workshop.rows.rows == {}


async def test_pipeline_whose_collection_is_deleted_meanwhile_ends(workshop: Workshop) -> None:
    job = await workshop.accept()

    async def delete(batch: int) -> None:
        if batch == 1:
            async with workshop.database.transaction() as tx:
                await tx.collections.delete(TENANT, "books")

    workshop.rows.before_upsert = delete
    with pytest.raises(FailedPrecondition):
        await workshop.pipeline.run(job)
    assert len(workshop.rows.written) == 2


async def test_pipeline_collection_of_another_embedding_model_is_not_written_to(workshop: Workshop) -> None:
    job = await workshop.accept()
    pipeline = replace(workshop.pipeline, embedder=HashEmbedder(dimension=32))
    with pytest.raises(FailedPrecondition) as caught:
        await pipeline.run(job)
    assert caught.value.reason == "EMBEDDING_MODEL_MISMATCH"
    assert workshop.rows.rows == {}
