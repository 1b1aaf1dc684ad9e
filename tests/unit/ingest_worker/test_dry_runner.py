from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ingest_worker.chunk.registry import chunk_document
from ingest_worker.dry_run import IngestDryRunner
from ingest_worker.fetch import FetchedDocument
from rag_server.domain.collection import Collection, TokenChunking
from rag_server.domain.document import MediaType, NewDocument, ParsedDocument
from rag_server.errors import FailedPrecondition, ResourceExhausted, Unavailable
from rag_server.testing.fakes import HashEmbedder
from rag_server.testing.in_process_parser import InProcessParser
from tests.unit.ingest_worker.conftest import Fetches, Workshop

MARKDOWN = "# Herons\n\n" + "\n\n".join(f"Paragraph {number} speaks of rivers." for number in range(30))
CHUNKING = TokenChunking(max_tokens=20, overlap_ratio=0.0)


class StuckParser:
    """Reads for ever; knows how many do."""

    def __init__(self) -> None:
        self.active = 0

    async def parse(self, *_: Any, **__: Any) -> tuple[MediaType, ParsedDocument]:
        self.active += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.active -= 1
        raise AssertionError


def runner(fetches: Fetches | None = None, *, parser: Any = None, limit: int = 2) -> IngestDryRunner:
    return IngestDryRunner(
        fetches or Fetches(),  # type: ignore[arg-type]  # fetches what a test says
        parser or InProcessParser(),
        HashEmbedder(),
        limit=limit,
        max_document_bytes=10_000,
    )


@pytest.fixture
def collection(workshop: Workshop) -> Collection:
    return workshop.collection


async def test_dry_run_goes_through_the_stages_of_a_job(collection: Collection) -> None:
    document = NewDocument(collection.id, "herons", file_name="herons.md")
    found = await runner().run(collection, document, CHUNKING, data=MARKDOWN.encode(), uri="")
    embedder = HashEmbedder()
    _, parsed = await InProcessParser().parse(MARKDOWN.encode(), "", "herons.md")
    expected = chunk_document(parsed, CHUNKING, embedder.tokenizer, embedder.model)
    assert found.drafts == tuple(expected)
    assert found.token_count == sum(draft.token_count for draft in expected)
    assert (found.media_type, found.title, found.size_bytes) == ("text/markdown", "Herons", len(MARKDOWN))
    assert found.document == document


async def test_dry_run_of_a_uri_takes_format_and_name_from_its_server(collection: Collection) -> None:
    fetches = Fetches(FetchedDocument(b"It waits by the river.", "text/plain", "note.txt"))
    document = NewDocument(collection.id, "")
    found = await runner(fetches).run(collection, document, CHUNKING, data=b"", uri="https://x.org/note")
    assert fetches.count == 1
    assert (found.title, found.media_type, found.size_bytes) == ("note.txt", "text/plain", 22)
    said = NewDocument(collection.id, "", title="Mine", file_name="x.md", media_type="text/markdown")
    found = await runner(fetches).run(collection, said, CHUNKING, data=b"", uri="https://x.org/note")
    assert (found.title, found.media_type, found.document) == ("Mine", "text/markdown", said)


async def test_dry_run_whose_fetch_fails_fails_likewise_and_makes_room(collection: Collection) -> None:
    fetches = Fetches(failures=[Unavailable("URI_FETCH_FAILED", "m")])
    subject = runner(fetches, limit=1)
    document = NewDocument(collection.id, "")
    with pytest.raises(Unavailable) as caught:
        await subject.run(collection, document, CHUNKING, data=b"", uri="https://x.org/")
    assert caught.value.reason == "URI_FETCH_FAILED"
    assert (await subject.run(collection, document, CHUNKING, data=b"", uri="https://x.org/")).drafts


async def test_dry_run_beyond_the_limit_is_refused_and_leaving_makes_room(collection: Collection) -> None:
    parser = StuckParser()
    subject = runner(parser=parser, limit=2)
    document = NewDocument(collection.id, "")

    def start() -> asyncio.Task[Any]:
        return asyncio.create_task(subject.run(collection, document, CHUNKING, data=b"x", uri=""))

    running = [start(), start()]
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted) as caught:
        await start()
    assert (caught.value.reason, caught.value.metadata) == ("PARSERS_BUSY", {"limit": "2"})
    assert caught.value.is_retryable
    running[0].cancel()
    await asyncio.wait([running[0]])
    assert parser.active == 1
    running.append(start())
    await asyncio.sleep(0)
    assert parser.active == 2
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert parser.active == 0


async def test_dry_run_refuses_what_no_job_could_do(workshop: Workshop, collection: Collection) -> None:
    document = NewDocument(collection.id, "")
    with pytest.raises(ResourceExhausted) as large:
        await runner().run(collection, document, CHUNKING, data=b"x" * 10_001, uri="")
    assert (large.value.reason, large.value.metadata) == ("DOCUMENT_TOO_LARGE", {"limit_bytes": "10000"})
    subject = IngestDryRunner(
        Fetches(),  # type: ignore[arg-type]
        InProcessParser(),
        HashEmbedder(dimension=32),
        limit=1,
        max_document_bytes=100,
    )
    with pytest.raises(FailedPrecondition) as other:
        await subject.run(collection, document, CHUNKING, data=b"x", uri="")
    assert other.value.reason == "EMBEDDING_MODEL_MISMATCH"
