from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from rag_server.backends.local_blobs import LocalBlobStore
from rag_server.domain.collection import CharacterChunking, Collection, TokenChunking
from rag_server.domain.document import NewDocument
from rag_server.domain.job import Job, JobState
from rag_server.domain.outbox import OutboxEntry
from rag_server.domain.priority import Priority
from rag_server.errors import InvalidArgument, NotFound, ResourceExhausted
from rag_server.ingest.submit import Content, Submitter, derive_document_id
from rag_server.metadata.database import Database
from tests.unit.rag_server.ingest.conftest import TENANT, one

VALID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+=-]{0,254}")


class Staged:
    sha256 = "ab" * 32
    size_bytes = 3

    async def keep(self) -> None: ...

    async def discard(self) -> None: ...


def name_of(uri: str = "", **fields: Any) -> str:
    return derive_document_id(NewDocument("books", "", **fields), uri=uri, sha256=Staged().sha256)


def test_document_id_is_of_the_uri_then_the_source_then_the_file_then_the_content() -> None:
    names = {"source_uri": "https://example.org/a", "file_name": "a.txt"}
    assert name_of("https://example.org/fetched", **names) == "https://example.org/fetched"
    assert name_of(**names) == "https://example.org/a"
    assert name_of(file_name="a.txt") == "a.txt"
    assert name_of() == f"sha256-{'ab' * 16}"


class Accept:
    """Hands in documents to a queue with room for `room` more."""

    def __init__(self, database: Database, blobs: LocalBlobStore) -> None:
        self.max_waiting = 2
        self.database = database
        self.blobs = blobs

    async def __call__(
        self, document: NewDocument, data: bytes | None = b"text", uri: str = "", **options: Any
    ) -> Job:
        staged = None
        if data is not None:
            staged = await self.blobs.stage(TENANT, one(data), limit_bytes=1000)
        async with self.database.transaction() as tx:
            return await Submitter(self.max_waiting).accept(
                tx,
                TENANT,
                document,
                Content(staged, uri),
                **{"chunking": None, "request_id": "r-1", **options},
            )


@pytest.fixture
def accept(database: Database, blobs: LocalBlobStore) -> Accept:
    return Accept(database, blobs)


async def jobs_in(database: Database) -> list[Job]:
    async with database.snapshot() as tx:
        return await tx.jobs.list(TENANT, limit=10)


async def test_submit_records_a_job_with_the_collections_chunking(
    accept: Accept, books: Collection, blobs: LocalBlobStore
) -> None:
    job = await accept(NewDocument("books", "a", file_name="a.txt"))
    assert job.state is JobState.QUEUED
    assert job.chunking == TokenChunking()
    assert (job.document.document_id, job.document_revision, job.request_id) == ("a", 1, "r-1")
    assert job.progress.size_bytes == 4
    assert await blobs.read(TENANT, job.content_sha256) == b"text"


async def test_submit_takes_the_callers_chunking(accept: Accept, books: Collection) -> None:
    job = await accept(NewDocument("books", "a"), chunking=CharacterChunking())
    assert job.chunking == CharacterChunking()


async def test_submit_of_a_uri_has_its_content_fetched(accept: Accept, books: Collection) -> None:
    job = await accept(NewDocument("books", ""), None, "https://example.org/a")
    assert (job.fetch_uri, job.content_sha256) == ("https://example.org/a", "")
    assert job.document.source_uri == job.document.document_id == "https://example.org/a"
    assert job.progress.size_bytes is None


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "TEXT/HTML; charset=utf-8",
        "application/pdf",
        " text/markdown ",
        "application/octet-stream",
    ],
)
async def test_submit_of_a_supported_media_type_is_accepted(
    accept: Accept, books: Collection, media_type: str
) -> None:
    await accept(NewDocument("books", "a", media_type=media_type))


@pytest.mark.parametrize("media_type", ["text/xml", "application/x-ndjson", "TEXT/RTF"])
async def test_submit_of_another_name_of_a_supported_media_type_is_accepted(
    accept: Accept, books: Collection, media_type: str
) -> None:
    job = await accept(NewDocument("books", "a", media_type=media_type))
    assert job.document.media_type == media_type


async def test_submit_of_an_unsupported_media_type_is_refused(accept: Accept, books: Collection) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await accept(NewDocument("books", "a", media_type="image/png"))
    assert caught.value.reason == "UNSUPPORTED_MEDIA_TYPE"
    assert caught.value.violations[0].field == "document.media_type"


async def test_submit_of_an_empty_document_is_refused_and_leaves_nothing(
    accept: Accept, books: Collection, database: Database
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await accept(NewDocument("books", "a"), b"")
    assert caught.value.reason == "DOCUMENT_EMPTY"
    assert await jobs_in(database) == []


async def test_submit_to_an_unknown_collection_is_refused(accept: Accept, database: Database) -> None:
    with pytest.raises(NotFound):
        await accept(NewDocument("nope", "a"))
    assert await jobs_in(database) == []


async def test_submit_of_metadata_of_another_type_is_refused_and_keeps_no_bytes(
    accept: Accept, books: Collection, database: Database, tmp_path: Path
) -> None:
    await accept(NewDocument("books", "a"))
    async with database.transaction() as tx:
        await tx.metadata_fields.learn(TENANT, books.uid, {"year": 1990})
    with pytest.raises(InvalidArgument) as caught:
        await accept(NewDocument("books", "b", metadata={"year": "x"}), b"other")
    assert caught.value.reason == "METADATA_TYPE_MISMATCH"
    assert len(await jobs_in(database)) == 1
    kept = [path for path in (tmp_path / "blobs" / TENANT).rglob("*") if path.is_file()]
    assert len(kept) == 1


async def test_submit_with_as_many_waiting_as_may_is_refused_before_any_work(
    accept: Accept, books: Collection, database: Database
) -> None:
    for name in ("a", "b"):
        await accept(NewDocument("books", name))
    with pytest.raises(ResourceExhausted) as caught:
        await accept(NewDocument("books", "c"))
    assert (caught.value.reason, caught.value.metadata) == ("JOB_QUEUE_FULL", {"limit": "2"})
    assert caught.value.is_retryable
    assert len(await jobs_in(database)) == 2
    async with database.transaction() as tx:
        await tx.outbox.remove(await tx.outbox.next_batch(Priority.INTERACTIVE, after_tenant="", limit=1))
    await accept(NewDocument("books", "c"))


async def test_submit_puts_the_job_into_the_outbox_with_its_priority_and_trace(
    accept: Accept, books: Collection, database: Database
) -> None:
    job = await accept(NewDocument("books", "a"), priority=Priority.BULK, trace_parent="00-t")
    async with database.transaction() as tx:
        (entry,) = await tx.outbox.next_batch(Priority.BULK, after_tenant="", limit=9)
    assert entry == OutboxEntry(TENANT, job.id, Priority.BULK, "00-t")
