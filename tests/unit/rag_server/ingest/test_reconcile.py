from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import numpy as np
import pytest

from rag_server.backends.local_blobs import LocalBlobStore
from rag_server.domain.collection import Collection
from rag_server.domain.document import Chunk, Span, chunk_id
from rag_server.domain.job import Job, JobState
from rag_server.domain.publication import Publication
from rag_server.domain.reconciliation import Finding, FindingKind, Inspected
from rag_server.errors import NotFound
from rag_server.ingest.reconcile import Reconciler
from rag_server.ingest.submit import Submitter
from rag_server.ingest.sweep import Sweeper
from rag_server.metadata.database import Database
from rag_server.testing.memory_chunk_store import MemoryChunkStore
from rag_server.testing.orphans import assert_no_orphans

TENANT = "acme"
CHUNKS = 3
Submit = Callable[..., Awaitable[Job]]


class Stores:
    """Metadata, chunks and bytes that can be made to disagree."""

    def __init__(self, database: Database, blobs: LocalBlobStore, collection: Collection, submit: Submit):
        self.database = database
        self.blobs = blobs
        self.collection = collection
        self.submit = submit
        self.chunks = MemoryChunkStore()
        self.sweeper = Sweeper(database, self.chunks, blobs)
        self.reconciler = Reconciler(database, self.chunks, blobs, Submitter(10), self.sweeper)
        self.inspected = Inspected()

    async def write(self, document_id: str, revision: int, ordinals: range = range(CHUNKS)) -> list[str]:
        """Write chunks of a revision, and nothing else."""
        await self.chunks.ensure_collection(self.collection)
        made = [self._chunk(document_id, revision, ordinal) for ordinal in ordinals]
        vectors = np.ones((len(made), self.collection.dimension), np.float32)
        await self.chunks.upsert(self.collection, made, vectors, [["w"]] * len(made), {})
        return [chunk.id for chunk in made]

    def _chunk(self, document_id: str, revision: int, ordinal: int) -> Chunk:
        name = chunk_id(TENANT, self.collection.uid, document_id, revision, ordinal)
        where = (TENANT, self.collection.id, document_id, revision, ordinal)
        return Chunk(name, *where, "text", Span(0, 4), (), 1, None, None, "", "", "text/plain")

    async def ingest(self, document_id: str = "doc", data: bytes = b"some text") -> Job:
        """Make a document that is whole."""
        job = await self.submit(document_id, data)
        await self.write(document_id, job.document_revision)
        publication = Publication(
            "", "text/plain", job.content_sha256, len(data), "en", CHUNKS, 3, recipe="r"
        )
        async with self.database.transaction() as tx:
            return await tx.documents.publish(TENANT, job.id, publication)

    async def lose(self, document_id: str = "doc", revision: int = 1, kept: range = range(1)) -> None:
        """Remove chunks of a revision behind the back of the metadata."""
        await self.chunks.delete_document(TENANT, self.collection.uid, document_id, revision=revision)
        await self.write(document_id, revision, kept)

    async def run(self, *, is_dry_run: bool = False, collection_id: str = "") -> list[Finding]:
        self.inspected = Inspected()
        found = self.reconciler.run(
            TENANT, self.inspected, is_dry_run=is_dry_run, collection_id=collection_id
        )
        return [finding async for finding in found]

    async def jobs(self) -> list[Job]:
        async with self.database.snapshot() as tx:
            return [job for job in await tx.jobs.list(TENANT, limit=10) if not job.state.is_final]

    async def stray_bytes(self, data: bytes = b"nobody's") -> str:
        async def one() -> object:
            yield data

        staged = await self.blobs.stage(TENANT, one(), limit_bytes=1000)  # type: ignore[arg-type]
        await staged.keep()
        return staged.sha256


@pytest.fixture
def stores(database: Database, blobs: LocalBlobStore, books: Collection, submit: Submit) -> Stores:
    return Stores(database, blobs, books, submit)


async def test_stores_that_agree_have_no_findings(stores: Stores) -> None:
    await stores.ingest("a", b"one")
    await stores.ingest("b", b"two")
    await stores.ingest("b", b"three")
    await stores.sweeper.sweep()
    assert await stores.run() == []
    assert stores.inspected == Inspected(collection_count=1, document_count=2, chunk_count=2 * CHUNKS)


async def test_orphans_are_found_and_swept(stores: Stores) -> None:
    await stores.ingest()
    await stores.write("doc", 9)
    await stores.write("unknown", 1)
    findings = await stores.run()
    assert {(each.kind, each.document_id, each.revision, each.chunk_count) for each in findings} == {
        (FindingKind.ORPHAN_CHUNKS, "doc", 9, CHUNKS),
        (FindingKind.ORPHAN_CHUNKS, "unknown", 1, CHUNKS),
    }
    assert all(each.is_repaired for each in findings)
    await stores.sweeper.sweep()
    assert await stores.run() == []
    assert await stores.chunks.count(stores.collection) == CHUNKS


async def test_dry_run_finds_and_changes_nothing(stores: Stores) -> None:
    await stores.ingest()
    await stores.lose()
    await stores.write("unknown", 1)
    sha256 = await stores.stray_bytes()
    first = await stores.run(is_dry_run=True)
    assert {each.kind for each in first} == {
        FindingKind.ORPHAN_CHUNKS,
        FindingKind.MISSING_CHUNKS,
        FindingKind.UNREFERENCED_BYTES,
    }
    assert not any(each.is_repaired or each.job_id for each in first)
    await stores.sweeper.sweep()
    assert await stores.run(is_dry_run=True) == first
    assert await stores.blobs.size(TENANT, sha256) is not None
    assert await stores.jobs() == []


async def test_chunks_of_a_running_job_are_left_alone(stores: Stores) -> None:
    await stores.ingest()
    job = await stores.submit("doc", b"other text")
    await stores.write("doc", job.document_revision, range(1))
    new = await stores.submit("new", b"new text")
    await stores.write("new", new.document_revision)
    assert await stores.run() == []
    assert await stores.chunks.count(stores.collection) == 2 * CHUNKS + 1


async def test_chunks_that_are_about_to_be_swept_are_no_finding(stores: Stores) -> None:
    await stores.ingest(data=b"one")
    await stores.ingest(data=b"two")
    failed = await stores.submit("doc", b"three")
    await stores.write("doc", failed.document_revision)
    async with stores.database.transaction() as tx:
        await tx.jobs.change(TENANT, failed.id, state=JobState.FAILED)
    assert await stores.run() == []


async def test_document_without_some_chunks_is_ingested_again(stores: Stores) -> None:
    done = await stores.ingest()
    await stores.lose()
    (finding,) = await stores.run()
    (job,) = await stores.jobs()
    assert finding == Finding(
        FindingKind.MISSING_CHUNKS, "books", "doc", 1, CHUNKS - 1, is_repaired=True, job_id=job.id
    )
    assert job.content_sha256 == done.content_sha256
    assert job.document == done.document
    assert job.document_revision == 2
    async with stores.database.transaction() as tx:  # the same content, but not to be skipped
        assert await tx.documents.keep(TENANT, job.id, 1) is None
    (again,) = await stores.run()
    assert again.job_id == job.id
    assert len(await stores.jobs()) == 1


async def test_document_with_surplus_chunks_is_ingested_again(stores: Stores) -> None:
    await stores.ingest()
    await stores.write("doc", 1, range(CHUNKS, CHUNKS + 2))
    (finding,) = await stores.run()
    assert (finding.kind, finding.chunk_count, finding.is_repaired) == (FindingKind.SURPLUS_CHUNKS, 2, True)


async def test_document_without_chunks_and_bytes_cannot_be_repaired(stores: Stores) -> None:
    done = await stores.ingest()
    await stores.lose(kept=range(0))
    await stores.blobs.delete(TENANT, done.content_sha256)
    missing, bytes_ = await stores.run()
    assert (missing.kind, missing.chunk_count, missing.is_repaired) == (
        FindingKind.MISSING_CHUNKS,
        CHUNKS,
        False,
    )
    assert (bytes_.kind, bytes_.sha256, bytes_.is_repaired) == (
        FindingKind.MISSING_BYTES,
        done.content_sha256,
        False,
    )
    assert await stores.jobs() == []


async def test_repair_that_finds_the_queue_full_is_left_for_later(stores: Stores) -> None:
    await stores.ingest()
    await stores.lose()
    stores.reconciler = Reconciler(stores.database, stores.chunks, stores.blobs, Submitter(0), stores.sweeper)
    (finding,) = await stores.run()
    assert not finding.is_repaired


async def test_bytes_that_nothing_needs_are_removed(stores: Stores) -> None:
    done = await stores.ingest()
    sha256 = await stores.stray_bytes()
    (finding,) = await stores.run()
    assert (finding.kind, finding.sha256, finding.is_repaired) == (
        FindingKind.UNREFERENCED_BYTES,
        sha256,
        True,
    )
    assert await stores.blobs.size(TENANT, sha256) is None
    assert await stores.blobs.size(TENANT, done.content_sha256) is not None


async def test_bytes_that_are_swept_after_they_were_listed_are_no_finding(stores: Stores) -> None:
    sha256 = await stores.stray_bytes()
    list_all = stores.blobs.list_all

    async def list_and_sweep() -> object:
        async for each in list_all():
            assert await stores.sweeper.remove_blob(*each)
            yield each

    for is_dry_run in (True, False):
        stores.blobs.list_all = list_and_sweep  # type: ignore[method-assign,assignment]  # a race, made certain
        assert await stores.run(is_dry_run=is_dry_run) == []
        assert await stores.blobs.size(TENANT, sha256) is None
        assert await stores.stray_bytes() == sha256


async def test_document_that_is_replaced_before_its_repair_keeps_its_new_content(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stores.ingest(data=b"old")
    await stores.lose()
    size = stores.blobs.size

    async def size_and_replace(tenant_id: str, sha256: str) -> int | None:
        found = await size(tenant_id, sha256)
        monkeypatch.undo()
        await stores.ingest(data=b"new")
        return found

    monkeypatch.setattr(stores.blobs, "size", size_and_replace)
    findings = await stores.run()
    assert not any(finding.is_repaired for finding in findings)
    assert await stores.jobs() == []
    async with stores.database.snapshot() as tx:
        assert (await tx.documents.get(TENANT, stores.collection.uid, "doc")).revision == 2


async def test_bytes_of_earlier_revisions_are_needed(stores: Stores) -> None:
    first = await stores.ingest(data=b"one")
    await stores.ingest(data=b"two")
    await stores.sweeper.sweep()
    assert await stores.run() == []
    await stores.blobs.delete(TENANT, first.content_sha256)
    (finding,) = await stores.run()
    assert (finding.kind, finding.sha256) == (FindingKind.MISSING_BYTES, first.content_sha256)


async def test_one_collection_is_looked_at_alone(stores: Stores) -> None:
    await stores.ingest()
    await stores.stray_bytes()
    assert await stores.run(collection_id="books") == []
    assert stores.inspected.collection_count == 1
    with pytest.raises(NotFound):
        await stores.run(collection_id="absent")


async def test_other_tenants_are_not_looked_at(stores: Stores) -> None:
    await stores.ingest()
    await stores.lose()
    found = stores.reconciler.run("stranger", Inspected(), is_dry_run=False)
    assert [finding async for finding in found] == []


async def test_documents_that_come_and_go_meanwhile_are_no_findings(stores: Stores) -> None:
    """What the scan saw is old by the time it is looked at."""
    await stores.ingest("stays", b"0")
    is_over = asyncio.Event()

    async def write() -> None:
        for number in range(6):
            await stores.ingest("busy", f"text {number}".encode())
            if number % 3 == 2:
                async with stores.database.transaction() as tx:
                    await tx.documents.delete(TENANT, stores.collection.uid, "busy")
            await stores.sweeper.sweep()
        is_over.set()

    async def look() -> list[Finding]:
        found: list[Finding] = []
        while not is_over.is_set():
            found += await stores.run()
            await asyncio.sleep(0)
        return found

    _, found = await asyncio.gather(write(), look())
    assert found == []
    assert await stores.jobs() == []


async def test_assert_no_orphans_raises_for_each_direction(stores: Stores) -> None:
    async def check() -> Inspected:
        return await assert_no_orphans(stores.database, stores.chunks, stores.blobs, tenant_id=TENANT)

    await stores.ingest()
    assert (await check()).chunk_count == CHUNKS
    await stores.write("unknown", 1)
    with pytest.raises(AssertionError, match="unknown"):
        await check()
    await stores.chunks.delete_document(TENANT, stores.collection.uid, "unknown")
    await check()
    await stores.lose()
    with pytest.raises(AssertionError, match="missing"):
        await check()


async def test_collection_that_is_deleted_meanwhile_has_no_findings(stores: Stores) -> None:
    await stores.ingest()
    await stores.lose()
    scan = stores.chunks.scan

    async def scan_and_delete(collection: Collection) -> object:
        async for batch in scan(collection):
            async with stores.database.transaction() as tx:
                await tx.collections.delete(TENANT, "books")
            yield batch

    stores.chunks.scan = scan_and_delete  # type: ignore[method-assign,assignment]  # a race, made certain
    assert await stores.run() == []
    assert replace(stores.inspected, chunk_count=0) == Inspected(collection_count=1)
