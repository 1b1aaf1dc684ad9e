from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

import ingest_worker.pipeline
from ingest_worker.cancelled import JobCancelled
from ingest_worker.chunk import chunk_document
from ingest_worker.fetch import FetchedDocument
from ingest_worker.sandbox.protocol import PagesDone
from ingest_worker.standing import Standing
from rag_server.backends.protocols import Embeddings
from rag_server.domain.document import ChunkDraft, MediaType, ParsedDocument, chunk_id
from rag_server.domain.job import Job, JobProgress, JobState
from rag_server.domain.metadata import MetadataType
from rag_server.domain.priority import Priority
from rag_server.domain.records import RecordField, RecordMapping
from rag_server.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from rag_server.testing.fakes import HashEmbedder
from tests.documents import pdf
from tests.unit.ingest_worker.conftest import BATCH, CHUNKING, LONG, TENANT, Workshop


async def events(workshop: Workshop, job: Job) -> list[Job]:
    async with workshop.database.snapshot() as tx:
        return list(await tx.jobs.events_after(TENANT, job.id, 0))


async def test_pipeline_takes_a_job_through_all_stages_in_order(workshop: Workshop) -> None:
    job = await workshop.run(await workshop.accept())
    assert job.state is JobState.SUCCEEDED
    states = [event.state for event in await events(workshop, job)]
    order = [state for state in JobState if state is not JobState.PARTIALLY_SUCCEEDED]
    assert states == sorted(states, key=order.index)
    # FETCHING is the consumer's to record, with the attempt.
    others = {JobState.FETCHING, JobState.FAILED, JobState.CANCELLED, JobState.PARTIALLY_SUCCEEDED}
    assert set(states) == set(order) - others


async def test_pipeline_progress_grows_to_the_whole(workshop: Workshop) -> None:
    job = await workshop.run(await workshop.accept())
    counts = [event.progress.indexed_chunk_count for event in await events(workshop, job)]
    assert counts == sorted(counts)
    assert counts[-1] == job.progress.chunk_count == len(workshop.rows.rows)
    assert job.progress.size_bytes == len(LONG)
    assert job.progress.token_count == sum(row.token_count for row in workshop.visible())


async def test_pipeline_writes_batches_of_at_most_the_size(workshop: Workshop) -> None:
    await workshop.run(await workshop.accept())
    sizes = [len(batch) for batch in workshop.rows.written]
    assert len(sizes) > 2
    assert set(sizes[:-1]) == {BATCH}
    assert 0 < sizes[-1] <= BATCH


async def test_pipeline_rows_are_the_document_in_order(workshop: Workshop) -> None:
    await workshop.accept(title="Given", source_uri="file:x", metadata={"year": 1990})
    async with workshop.database.snapshot() as tx:
        (job,) = await tx.jobs.list(TENANT, limit=2)
    await workshop.run(job)
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
    await workshop.run(await workshop.accept("# Found\n\nSome text.", **fields))
    assert workshop.visible()[0].title == title


async def test_pipeline_run_again_writes_the_same_rows(workshop: Workshop) -> None:
    job = await workshop.accept()

    async def fail_at_the_third(batch: int) -> None:
        if batch == 2:
            raise Unavailable("VECTOR_STORE_UNAVAILABLE", "m")

    workshop.rows.before_upsert = fail_at_the_third
    with pytest.raises(Unavailable):
        await workshop.run(job)
    first = [name for batch in workshop.rows.written for name in batch]
    workshop.rows.before_upsert = None
    workshop.rows.written.clear()
    done = await workshop.run(job)
    again = [name for batch in workshop.rows.written for name in batch]
    assert again[: len(first)] == first
    assert len(again) == len(set(again)) == len(workshop.rows.rows) == done.progress.chunk_count


async def test_pipeline_run_again_removes_what_the_first_cut_differently(workshop: Workshop) -> None:
    job = await workshop.accept("one short text")
    other = await workshop.accept(LONG, "other")
    await workshop.run(other)
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
    await workshop.run(job)
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
        await workshop.run(job)
    assert len(workshop.rows.written) == 2


async def test_pipeline_cancelled_after_the_last_row_publishes_nothing(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await workshop.accept("one short text")
    async with workshop.database.transaction() as tx:
        await tx.jobs.change(TENANT, job.id, state=JobState.FETCHING)

    class Late(Standing):
        """A job that somebody cancels once its last stage has begun."""

        async def enter(self, state: JobState, progress: JobProgress) -> None:
            await Standing.enter(self, state, progress)
            if state is JobState.INDEXING:
                async with workshop.database.transaction() as tx:
                    await tx.jobs.request_cancel(TENANT, job.id)

    monkeypatch.setattr(ingest_worker.pipeline, "Standing", Late)
    ended = await workshop.run(job)
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
        await workshop.run(await workshop.accept(data, **fields))
    assert caught.value.reason == reason
    assert workshop.rows.rows == {}


async def test_pipeline_missing_bytes_are_an_error(workshop: Workshop) -> None:
    job = await workshop.accept()
    await workshop.blobs.delete(TENANT, job.content_sha256)
    with pytest.raises(NotFound) as caught:
        await workshop.run(job)
    assert caught.value.reason == "BLOB_NOT_FOUND"


async def test_pipeline_uri_is_fetched_once_and_kept(workshop: Workshop) -> None:
    job = await workshop.accept(uri="https://e.org/p")
    workshop.rows.fill_first = [Unavailable("VECTOR_STORE_UNAVAILABLE", "m")]
    with pytest.raises(Unavailable):
        await workshop.run(job)
    job = await workshop.job(job.id)
    assert await workshop.blobs.read(TENANT, job.content_sha256) == workshop.fetches.document.data
    done = await workshop.run(job)
    assert workshop.fetches.count == 1
    assert done.state is JobState.SUCCEEDED


async def test_pipeline_uri_second_attempt_takes_the_document_for_the_same_format(workshop: Workshop) -> None:
    job = await workshop.accept(uri="https://e.org/p")
    workshop.rows.fill_first = [Unavailable("VECTOR_STORE_UNAVAILABLE", "m")]
    with pytest.raises(Unavailable):
        await workshop.run(job)
    await workshop.run(await workshop.job(job.id))
    (row,) = workshop.visible()
    assert (row.media_type, row.title, row.heading_path) == ("text/markdown", "Heron", ("Heron",))


async def test_pipeline_uri_what_the_caller_declares_wins(workshop: Workshop) -> None:
    workshop.fetches.document = FetchedDocument(b"# Heron", "text/markdown", "page.md")
    job = await workshop.accept(uri="https://e.org/p", media_type="text/plain", file_name="mine.txt")
    await workshop.run(job)
    (row,) = workshop.visible()
    assert (row.media_type, row.title) == ("text/plain", "mine.txt")


async def test_pipeline_of_a_deleted_collection_is_not_found(workshop: Workshop) -> None:
    job = await workshop.accept()
    lease = await workshop.hold(job)
    async with workshop.database.transaction() as tx:
        await tx.collections.delete(TENANT, "books")
    with pytest.raises(NotFound):
        await workshop.pipeline.run(job, lease)
    assert workshop.rows.rows == {}


async def test_pipeline_whose_collection_is_deleted_meanwhile_ends(workshop: Workshop) -> None:
    job = await workshop.accept()

    async def delete(batch: int) -> None:
        if batch == 1:
            async with workshop.database.transaction() as tx:
                await tx.collections.delete(TENANT, "books")

    workshop.rows.before_upsert = delete
    with pytest.raises(FailedPrecondition):
        await workshop.run(job)
    assert len(workshop.rows.written) == 2


async def test_pipeline_collection_of_another_embedding_model_is_not_written_to(workshop: Workshop) -> None:
    job = await workshop.accept()
    pipeline = replace(workshop.pipeline, embedder=HashEmbedder(dimension=32))
    with pytest.raises(FailedPrecondition) as caught:
        await workshop.run(job, pipeline)
    assert caught.value.reason == "EMBEDDING_MODEL_MISMATCH"
    assert workshop.rows.rows == {}


async def test_pipeline_boxes_asked_for_later_are_found_without_embedding_again(workshop: Workshop) -> None:
    data = pdf()
    await workshop.run(await workshop.accept(data))
    before = workshop.visible()
    assert {chunk.boxes for chunk in before} == {()}
    job = await workshop.run(await workshop.accept(data, chunking=replace(CHUNKING, page_boxes=True)))
    after = [chunk for chunk in workshop.visible() if chunk.document_revision == 2]
    assert [chunk.text for chunk in after] == [chunk.text for chunk in before]
    assert all(chunk.boxes for chunk in after)
    assert (job.progress.embedded_chunk_count, job.progress.is_unchanged) == (0, False)
    again = await workshop.run(await workshop.accept(data, chunking=replace(CHUNKING, page_boxes=True)))
    assert again.progress.is_unchanged


@dataclass
class SlowParser:
    """Reads `total` pages, each when it is told to."""

    total: int = 3
    turn: asyncio.Event = field(default_factory=asyncio.Event)
    reading: asyncio.Event = field(default_factory=asyncio.Event)
    was_cancelled: bool = False

    async def parse(
        self,
        data: bytes,
        declared: str = "",
        file_name: str = "",
        *,
        on_pages: PagesDone | None = None,
        records: RecordMapping | None = None,
        page_boxes: bool = False,
    ) -> tuple[MediaType, ParsedDocument]:
        assert on_pages is not None
        try:
            for done in range(1, self.total + 1):
                self.reading.set()
                await self.turn.wait()
                self.turn.clear()
                on_pages(done, self.total)
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return MediaType.TEXT, ParsedDocument("some text", (), page_count=self.total)


async def test_pipeline_progress_of_parsing_is_recorded_while_it_goes_on(workshop: Workshop) -> None:
    parser = SlowParser()
    job = await workshop.accept()
    running = asyncio.create_task(workshop.run(job, replace(workshop.pipeline, parser=parser)))
    recorded = []
    async with asyncio.timeout(30):
        for expected in range(1, parser.total):
            parser.turn.set()
            while (progress := (await workshop.job(job.id)).progress).parsed_page_count != expected:
                await workshop.changed.wait()
                workshop.changed.clear()
            recorded.append((progress.parsed_page_count, progress.page_count))
        parser.turn.set()
        done = await running
    assert recorded == [(1, 3), (2, 3)]
    assert (done.progress.parsed_page_count, done.progress.page_count) == (3, 3)
    counts = [event.progress.parsed_page_count for event in await events(workshop, job)]
    assert sorted(count for count in counts if count is not None) == [
        each for each in counts if each is not None
    ]


async def test_pipeline_cancelled_while_parsing_stops_the_parser(workshop: Workshop) -> None:
    parser = SlowParser()
    job = await workshop.accept()
    async with workshop.database.transaction() as tx:
        await tx.jobs.change(TENANT, job.id, state=JobState.FETCHING)
    running = asyncio.create_task(workshop.run(job, replace(workshop.pipeline, parser=parser)))
    await asyncio.wait_for(parser.reading.wait(), 30)
    async with workshop.database.transaction() as tx:
        await tx.jobs.request_cancel(TENANT, job.id)
    with pytest.raises(JobCancelled):
        await asyncio.wait_for(running, 30)
    assert parser.was_cancelled
    assert workshop.rows.rows == {}


async def test_pipeline_whose_task_is_cancelled_while_parsing_stops_the_parser(workshop: Workshop) -> None:
    parser = SlowParser()
    job = await workshop.accept()
    running = asyncio.create_task(workshop.run(job, replace(workshop.pipeline, parser=parser)))
    await asyncio.wait_for(parser.reading.wait(), 30)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert parser.was_cancelled


async def test_pipeline_that_gets_no_further_shows_that_it_lives(workshop: Workshop) -> None:
    parser = SlowParser()
    job = await workshop.accept()
    running = asyncio.create_task(workshop.run(job, replace(workshop.pipeline, parser=parser)))
    async with asyncio.timeout(30):
        await parser.reading.wait()
        first = await workshop.job(job.id)
        while (later := await workshop.job(job.id)).sequence == first.sequence:
            await workshop.changed.wait()
            workshop.changed.clear()
    assert (later.state, later.progress) == (JobState.PARSING, first.progress)
    assert later.update_time > first.update_time
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


class SlowEmbedder(HashEmbedder):
    """Embeds nothing until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.let = asyncio.Event()
        self.was_cancelled = False

    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.INTERACTIVE) -> Embeddings:
        self.asked.set()
        try:
            await self.let.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return await super().embed(texts, priority=priority)


async def test_pipeline_shows_that_it_lives_while_a_batch_is_embedded(workshop: Workshop) -> None:
    embedder = SlowEmbedder()
    job = await workshop.accept()
    running = asyncio.create_task(workshop.run(job, replace(workshop.pipeline, embedder=embedder)))
    async with asyncio.timeout(30):
        await embedder.asked.wait()
        first = await workshop.job(job.id)
        while (later := await workshop.job(job.id)).sequence == first.sequence:
            await workshop.changed.wait()
            workshop.changed.clear()
        assert (later.state, later.progress) == (JobState.EMBEDDING, first.progress)
        embedder.let.set()
        assert (await running).state is JobState.SUCCEEDED


async def test_pipeline_cancelled_while_a_batch_is_embedded_does_not_wait_for_it(workshop: Workshop) -> None:
    embedder = SlowEmbedder()
    job = await workshop.accept()
    running = asyncio.create_task(workshop.run(job, replace(workshop.pipeline, embedder=embedder)))
    await asyncio.wait_for(embedder.asked.wait(), 30)
    async with workshop.database.transaction() as tx:
        await tx.jobs.request_cancel(TENANT, job.id)
    with pytest.raises(JobCancelled):
        await asyncio.wait_for(running, 30)
    assert embedder.was_cancelled
    assert workshop.rows.rows == {}


class SlowCutting:
    """Stands in the way of chunking: each chunk waits until it is let through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._let_through = threading.Semaphore(0)
        self.ended = threading.Event()
        self._cut = chunk_document
        monkeypatch.setattr(ingest_worker.pipeline, "chunk_document", self)

    def let_through(self, count: int) -> None:
        self._let_through.release(count)

    def __call__(self, *arguments: Any, on_chunk: Callable[[], None]) -> list[ChunkDraft]:
        def on_chunk_in_turn() -> None:
            self._let_through.acquire(timeout=30)
            on_chunk()

        try:
            return self._cut(*arguments, on_chunk=on_chunk_in_turn)
        finally:
            self.ended.set()


async def until_chunked(workshop: Workshop, job: Job, count: int) -> Job:
    async with asyncio.timeout(30):
        while (found := await workshop.job(job.id)).progress.chunk_count != count:
            await workshop.changed.wait()
            workshop.changed.clear()
    return found


async def test_pipeline_progress_of_chunking_is_recorded_while_it_goes_on(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    cutting = SlowCutting(monkeypatch)
    job = await workshop.accept(LONG)
    running = asyncio.create_task(workshop.run(job))
    for expected in (2, 5):
        cutting.let_through(expected - cutting_so_far(await workshop.job(job.id)))
        assert (await until_chunked(workshop, job, expected)).state is JobState.CHUNKING
    cutting.let_through(1_000)
    done = await running
    assert done.progress.chunk_count == done.progress.indexed_chunk_count
    assert (done.progress.chunk_count or 0) > 5


def cutting_so_far(job: Job) -> int:
    return job.progress.chunk_count or 0


async def test_pipeline_cancelled_while_chunking_ends_the_thread_at_its_next_chunk(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    cutting = SlowCutting(monkeypatch)
    job = await workshop.accept(LONG)
    running = asyncio.create_task(workshop.run(job))
    cutting.let_through(1)
    await until_chunked(workshop, job, 1)
    async with workshop.database.transaction() as tx:
        await tx.jobs.request_cancel(TENANT, job.id)
    with pytest.raises(JobCancelled):
        await asyncio.wait_for(running, 30)
    cutting.let_through(1)
    assert await asyncio.to_thread(cutting.ended.wait, 30)
    assert workshop.rows.rows == {}


GOODS = RecordMapping(
    template="{name}",
    fields=(
        RecordField("category", "category", MetadataType.STRING),
        RecordField("price", "price", MetadataType.DOUBLE),
    ),
    key_column="sku",
)
TABLE = "sku,name,category,price\nA,Heron,laptops,499\nB,Reed,mice,20\nC,Wader,laptops,999\n"


async def table_job(workshop: Workshop, data: str, **fields: Any) -> Job:
    return await workshop.accept(data, chunking=GOODS, media_type="text/csv", **fields)


async def field_types(workshop: Workshop) -> dict[str, MetadataType]:
    async with workshop.database.snapshot() as tx:
        found = await tx.metadata_fields.of_collections(TENANT, [workshop.collection.uid])
    return found[workshop.collection.uid]


async def test_pipeline_makes_each_row_a_chunk_with_its_own_metadata(workshop: Workshop) -> None:
    job = await workshop.run(await table_job(workshop, TABLE, metadata={"currency": "EUR"}))
    assert job.state is JobState.SUCCEEDED
    rows = workshop.visible()
    assert [(row.text, row.heading_path) for row in rows] == [
        ("Heron", ("A",)),
        ("Reed", ("B",)),
        ("Wader", ("C",)),
    ]
    assert [row.metadata for row in rows] == [
        {"category": "laptops", "price": 499.0},
        {"category": "mice", "price": 20.0},
        {"category": "laptops", "price": 999.0},
    ]
    assert await field_types(workshop) == {
        "category": MetadataType.STRING,
        "currency": MetadataType.STRING,
        "price": MetadataType.DOUBLE,
    }


async def test_pipeline_embeds_only_the_rows_that_changed(workshop: Workshop) -> None:
    await workshop.run(await table_job(workshop, TABLE))
    changed = TABLE.replace("Reed,mice,20", "Reed,mice,18").replace("Wader", "Crane")
    job = await workshop.run(await table_job(workshop, changed))
    assert (job.progress.embedded_chunk_count, job.progress.reused_chunk_count) == (1, 2)
    newest = [row for row in workshop.visible() if row.document_revision == job.document_revision]
    assert [row.metadata["price"] for row in newest] == [499.0, 18.0, 999.0]


async def test_pipeline_makes_no_revision_of_the_same_rows_by_the_same_mapping(workshop: Workshop) -> None:
    first = await workshop.run(await table_job(workshop, TABLE))
    again = await workshop.run(await table_job(workshop, TABLE))
    assert again.progress.is_unchanged
    other = replace(GOODS, template="{name} {price}")
    anew = await workshop.run(await workshop.accept(TABLE, chunking=other, media_type="text/csv"))
    assert anew.document_revision > first.document_revision
    assert "Heron 499" in [row.text for row in workshop.visible()]


async def test_pipeline_leaves_out_bad_rows_and_succeeds_in_part(workshop: Workshop) -> None:
    data = TABLE + "D,Rail,mice,cheap\nE,Coot,,3\n"
    for _ in range(2):  # the same content again is read again: its errors are still there
        job = await workshop.run(await table_job(workshop, data))
        assert job.state is JobState.PARTIALLY_SUCCEEDED
        assert job.progress.failed_item_count == 2
        assert [(each.item, each.reason) for each in job.item_errors] == [
            ("row 5", "RECORD_VALUE_INVALID"),
            ("row 6", "RECORD_VALUE_MISSING"),
        ]
        assert job.progress.chunk_count == 3
    history = await events(workshop, job)
    assert [bool(event.item_errors) for event in history] == [event.state.is_final for event in history]


async def test_pipeline_fails_where_no_row_is_left(workshop: Workshop) -> None:
    job = await table_job(workshop, "sku,name,category,price\nA,Heron,laptops,dear\n")
    with pytest.raises(InvalidArgument, match=r"none of 1 rows.*row 2: the column 'price'") as caught:
        await workshop.run(job)
    assert caught.value.reason == "RECORDS_ALL_INVALID"
    assert [each.item for each in (await workshop.job(job.id)).item_errors] == ["row 2"]
    assert workshop.rows.rows == {}


async def test_pipeline_refuses_rows_whose_field_has_another_type_by_now(workshop: Workshop) -> None:
    job = await table_job(workshop, TABLE)
    async with workshop.database.transaction() as tx:
        await tx.metadata_fields.learn(TENANT, workshop.collection.uid, {"price": "a lot"})
    with pytest.raises(InvalidArgument) as caught:
        await workshop.run(job)
    assert caught.value.reason == "METADATA_TYPE_MISMATCH"
    assert (await workshop.job(job.id)).state is JobState.INDEXING
