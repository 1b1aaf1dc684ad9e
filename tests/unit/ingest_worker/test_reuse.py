"""What is not embedded again, and what is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ingest_worker import recipe
from rag_server.backends.protocols import Embeddings
from rag_server.domain.collection import TokenChunking
from rag_server.domain.job import Job, JobState
from rag_server.domain.lease import LeaseLost
from rag_server.domain.priority import Priority
from rag_server.errors import Unavailable
from rag_server.testing.fakes import HashEmbedder
from tests.unit.ingest_worker.conftest import LONG, TENANT, Workshop


class CountingEmbedder(HashEmbedder):
    """Remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.INTERACTIVE) -> Embeddings:
        self.texts += texts
        return await super().embed(texts, priority=priority)


@pytest.fixture
def embedder(workshop: Workshop) -> CountingEmbedder:
    counting = CountingEmbedder()
    workshop.pipeline = replace(workshop.pipeline, embedder=counting)
    return counting


async def ingest(workshop: Workshop, data: str = LONG, **fields: Any) -> Job:
    return await workshop.run(await workshop.accept(data, **fields))


async def test_changed_paragraph_is_all_that_is_embedded(
    workshop: Workshop, embedder: CountingEmbedder
) -> None:
    first = await ingest(workshop)
    assert first.progress.reused_chunk_count == 0
    assert first.progress.embedded_chunk_count == first.progress.chunk_count == len(embedder.texts)
    before = {row.text for row in workshop.visible()}
    embedder.texts.clear()
    second = await ingest(workshop, LONG.replace("Paragraph 15 speaks", "Paragraph 15 now speaks"))
    assert second.document_revision == 2
    rows = [row for row in workshop.visible() if row.document_revision == 2]
    assert {row.text for row in rows} - before == set(embedder.texts)
    assert 1 <= len(embedder.texts) <= 2
    progress = second.progress
    assert progress.embedded_chunk_count == len(embedder.texts)
    assert progress.embedded_chunk_count + progress.reused_chunk_count == progress.chunk_count == len(rows)
    assert not progress.is_unchanged


async def test_reused_vectors_are_those_of_the_texts(workshop: Workshop, embedder: CountingEmbedder) -> None:
    await ingest(workshop)
    paragraphs = LONG.split("\n\n")
    await ingest(workshop, "\n\n".join([*paragraphs[20:], "Something new.", *paragraphs[:20]]))
    rows = [row for row in workshop.visible() if row.document_revision == 2]
    expected = await HashEmbedder().embed([row.text for row in rows])
    np.testing.assert_array_equal(np.array([workshop.rows.vectors[row.id] for row in rows]), expected)


async def test_same_content_makes_no_revision(workshop: Workshop, embedder: CountingEmbedder) -> None:
    first = await ingest(workshop, metadata={"year": 2020})
    written = len(workshop.rows.written)
    embedder.texts.clear()
    job = await ingest(workshop, metadata={"year": 2020})
    assert job.state is JobState.SUCCEEDED
    assert job.progress.is_unchanged
    assert job.document_revision == first.document_revision == 1
    assert (embedder.texts, len(workshop.rows.written)) == ([], written)
    async with workshop.database.snapshot() as tx:
        assert (await tx.documents.get(TENANT, workshop.collection.uid, "doc")).revision == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"year": 2021}},
        {"title": "Another"},
        {"source_uri": "file:y"},
        {"media_type": "text/plain"},
    ],
)
async def test_same_bytes_handed_in_otherwise_take_effect_without_embedding(
    workshop: Workshop, embedder: CountingEmbedder, fields: dict[str, Any]
) -> None:
    first = {"metadata": {"year": 2020}, "title": "One", "source_uri": "file:x"}
    await ingest(workshop, **first)
    embedder.texts.clear()
    job = await ingest(workshop, **{**first, **fields})
    assert (job.document_revision, job.progress.is_unchanged) == (2, False)
    assert embedder.texts == []
    assert job.progress.reused_chunk_count == job.progress.chunk_count
    async with workshop.database.snapshot() as tx:
        document = await tx.documents.get(TENANT, workshop.collection.uid, "doc")
    seen = {"metadata": document.metadata, "title": document.title, "source_uri": document.source_uri}
    assert seen == {**first, **{name: value for name, value in fields.items() if name in first}}


async def test_same_bytes_cut_otherwise_are_a_revision(
    workshop: Workshop, embedder: CountingEmbedder
) -> None:
    await ingest(workshop)
    job = await ingest(workshop, chunking=TokenChunking(max_tokens=40, overlap_ratio=0.0))
    assert (job.document_revision, job.progress.is_unchanged) == (2, False)


async def test_same_bytes_read_by_a_later_parser_are_a_revision(
    workshop: Workshop, embedder: CountingEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ingest(workshop)
    monkeypatch.setattr(recipe, "PROCESSING_VERSION", recipe.PROCESSING_VERSION + 1)
    job = await ingest(workshop)
    assert (job.document_revision, job.progress.is_unchanged) == (2, False)


async def test_same_bytes_are_a_revision_where_scanned_pages_are_read_since(
    workshop: Workshop, embedder: CountingEmbedder
) -> None:
    await ingest(workshop)
    workshop.pipeline = replace(workshop.pipeline, reads_scans=True)
    again, same = [await ingest(workshop) for _ in range(2)]
    assert (again.document_revision, again.progress.is_unchanged) == (2, False)
    assert (same.document_revision, same.progress.is_unchanged) == (2, True)


async def test_content_of_a_deleted_document_is_ingested_anew(
    workshop: Workshop, embedder: CountingEmbedder
) -> None:
    await ingest(workshop)
    async with workshop.database.transaction() as tx:
        await tx.documents.delete(TENANT, workshop.collection.uid, "doc")
    embedder.texts.clear()
    job = await ingest(workshop)
    assert (job.document_revision, job.progress.is_unchanged, job.progress.reused_chunk_count) == (
        2,
        False,
        0,
    )
    assert len(embedder.texts) == job.progress.chunk_count


async def test_content_of_a_job_that_waits_behind_another_is_not_skipped(
    workshop: Workshop, embedder: CountingEmbedder
) -> None:
    """A, then B and A again: whichever of the two is run first, A is what is left."""
    await ingest(workshop, "content a")
    other, again = await workshop.accept("content b"), await workshop.accept("content a")
    done = await workshop.run(again)
    assert (done.state, done.progress.is_unchanged) == (JobState.SUCCEEDED, False)
    late = await workshop.run(other)
    assert late.error is not None
    assert late.error.reason == "SUPERSEDED"
    await workshop.sweeper.sweep()
    assert [row.text for row in workshop.visible()] == ["content a"]


async def test_chunks_that_the_store_has_lost_are_embedded(
    workshop: Workshop, embedder: CountingEmbedder
) -> None:
    await ingest(workshop)
    lost = workshop.visible()[3]
    del workshop.rows.rows[lost.id]
    embedder.texts.clear()
    await ingest(workshop, title="New")
    assert embedder.texts == [lost.text]


async def test_store_that_cannot_be_read_costs_the_embedding_not_the_job(
    workshop: Workshop, embedder: CountingEmbedder
) -> None:
    await ingest(workshop)
    embedder.texts.clear()
    workshop.rows.unreadable = [Unavailable("VECTOR_STORE_UNAVAILABLE", "m")]
    job = await ingest(workshop, title="New")
    assert job.state is JobState.SUCCEEDED
    assert job.progress.embedded_chunk_count == job.progress.chunk_count == len(embedder.texts)


async def test_vectors_of_another_document_are_not_looked_at(
    workshop: Workshop, embedder: CountingEmbedder
) -> None:
    await ingest(workshop)
    job = await ingest(workshop, document_id="other")
    assert job.progress.reused_chunk_count == 0


async def test_rows_are_embedded_again_only_where_the_header_that_they_repeat_has_changed(
    workshop: Workshop, embedder: CountingEmbedder
) -> None:
    """A chunk's vector is of its rows and of the header in front of them."""
    rows = "\n".join(f"| heron {number} | {number} cm |" for number in range(20))
    table = f"| bird | height |\n| --- | --- |\n{rows}\n"
    chunking = TokenChunking(max_tokens=60, overlap_ratio=0.0)
    await ingest(workshop, table, media_type="text/markdown", chunking=chunking)
    assert len(embedder.texts) > 2
    assert all(text.startswith("| bird |") for text in embedder.texts)
    embedder.texts.clear()
    await ingest(workshop, table, media_type="text/markdown", chunking=chunking, title="New")
    assert embedder.texts == []
    job = await ingest(workshop, table.replace("bird", "fish"), media_type="text/markdown", chunking=chunking)
    assert job.progress.reused_chunk_count == 0
    assert all(text.startswith("| fish |") for text in embedder.texts)


async def test_same_content_is_not_kept_by_one_who_has_lost_the_lease(
    workshop: Workshop, embedder: CountingEmbedder
) -> None:
    await ingest(workshop)
    job = await workshop.accept()
    lease = await workshop.hold(job)
    async with workshop.database.transaction() as tx:
        await tx.leases.release_all()
        assert await tx.leases.acquire(TENANT, job.id, owner="other", ttl_s=60.0) is not None
    async with workshop.database.snapshot() as tx:
        before = await tx.jobs.get(TENANT, job.id)

    async def keep() -> None:
        async with lease.transaction() as tx:
            await tx.documents.keep(TENANT, job.id, 1)

    with pytest.raises(LeaseLost):
        await keep()
    with pytest.raises(LeaseLost):
        await workshop.pipeline.run(job, lease)
    assert await workshop.job(job.id) == before


async def test_text_that_repeats_is_embedded_once(workshop: Workshop, embedder: CountingEmbedder) -> None:
    chunking = TokenChunking(max_tokens=16, overlap_ratio=0.0)
    paragraph = "one two three four five six seven eight nine ten"
    job = await ingest(workshop, "\n\n".join([paragraph] * 4), chunking=chunking)
    assert job.progress.chunk_count == 4
    assert embedder.texts == [paragraph]
