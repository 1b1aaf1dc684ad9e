"""An ingest pipeline over real metadata, bytes, parsers and chunkers, with rows in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ingest_worker.consumer import Consumer
from ingest_worker.fetch import FetchedDocument
from ingest_worker.lease import HeldLease
from ingest_worker.pipeline import IngestPipeline
from rag_server.backends.in_process_queue import InProcessJobQueue
from rag_server.backends.local_blobs import LocalBlobStore
from rag_server.backends.protocols import Embeddings, JobMessage
from rag_server.domain.collection import Collection, NewCollection, TokenChunking
from rag_server.domain.document import Chunk, NewDocument
from rag_server.domain.job import Job
from rag_server.domain.records import Cutting
from rag_server.domain.stored import StoredChunks
from rag_server.errors import RagError
from rag_server.ingest.sweep import Sweeper
from rag_server.metadata.database import Database
from rag_server.testing.fakes import HashEmbedder
from rag_server.testing.in_process_parser import InProcessParser
from rag_server.text.analyzer import Analyzer

TENANT = "acme"
LONG = "\n\n".join(f"Paragraph {number} speaks of herons and rivers." for number in range(30))
CHUNKING = TokenChunking(max_tokens=20, overlap_ratio=0.0)
BATCH = 4

Hook = Callable[[int], Any]


@dataclass
class Rows:
    """A chunk store in memory. `before_upsert` is awaited with the number of the batch, and may raise."""

    rows: dict[str, Chunk] = field(default_factory=dict)
    collections: set[str] = field(default_factory=set)
    uid_of: dict[str, str] = field(default_factory=dict)
    vectors: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    unreadable: list[Exception] = field(default_factory=list)
    """Raised, one per call, by `read_chunks`."""
    written: list[list[str]] = field(default_factory=list)
    metadata: list[dict[str, object]] = field(default_factory=list)
    before_upsert: Hook | None = None
    fill_first: list[Exception] = field(default_factory=list)
    """Raised, one per call, by `ensure_collection`."""

    async def ensure_collection(self, collection: Collection) -> None:
        if self.fill_first:
            raise self.fill_first.pop(0)
        self.collections.add(collection.uid)

    async def drop_collection(self, collection_uid: str) -> None:
        self.collections.discard(collection_uid)
        self.rows = {key: row for key, row in self.rows.items() if self.uid_of[key] != collection_uid}

    async def upsert(
        self,
        collection: Collection,
        chunks: Sequence[Chunk],
        vectors: Embeddings,
        lexemes: Sequence[Sequence[str]],
        metadata: dict[str, object],
    ) -> None:
        assert len(chunks) == len(vectors) == len(lexemes)
        if self.before_upsert is not None:
            await self.before_upsert(len(self.written))
        self.collections.add(collection.uid)
        self.written.append([chunk.id for chunk in chunks])
        self.metadata.append(metadata)
        for chunk, vector in zip(chunks, vectors, strict=True):
            self.rows[chunk.id] = chunk
            self.uid_of[chunk.id] = collection.uid
            self.vectors[chunk.id] = vector

    async def read_chunks(self, collection: Collection, chunk_ids: Sequence[str]) -> StoredChunks:
        if self.unreadable:
            raise self.unreadable.pop(0)
        found = [each for each in chunk_ids if each in self.rows and self.uid_of[each] == collection.uid]
        vectors = np.array([self.vectors[each] for each in found], np.float32)
        shaped = vectors.reshape(len(found), collection.dimension)
        return StoredChunks([self.rows[each] for each in found], shaped, [[] for _ in found])

    async def delete_document(
        self,
        tenant_id: str,
        collection_uid: str,
        document_id: str,
        *,
        revision: int | None = None,
        before_revision: int | None = None,
    ) -> None:
        def is_gone(row: Chunk) -> bool:
            if (row.tenant_id, row.document_id) != (tenant_id, document_id):
                return False
            if self.uid_of[row.id] != collection_uid:
                return False
            if revision is not None:
                return row.document_revision == revision
            return before_revision is None or row.document_revision < before_revision

        self.rows = {key: row for key, row in self.rows.items() if not is_gone(row)}


@dataclass
class Fetches:
    """Fetches what a test says; raises what it says first."""

    document: FetchedDocument = field(
        default_factory=lambda: FetchedDocument(b"# Heron\n\nIt waits.", "text/markdown", "page")
    )
    failures: list[RagError] = field(default_factory=list)
    count: int = 0

    async def fetch(self, uri: str) -> FetchedDocument:
        self.count += 1
        if self.failures:
            raise self.failures.pop(0)
        return self.document


@dataclass
class Workshop:
    """All that a job needs."""

    database: Database
    blobs: LocalBlobStore
    rows: Rows
    fetches: Fetches
    queue: InProcessJobQueue
    collection: Collection
    pipeline: IngestPipeline
    sweeper: Sweeper
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a job has changed."""
    ended: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    """Released when the consumer has dealt with a job."""

    async def accept(
        self,
        data: str | bytes = LONG,
        document_id: str = "doc",
        *,
        uri: str = "",
        chunking: Cutting = CHUNKING,
        **fields: Any,
    ) -> Job:
        """Record and publish a job."""
        content = data.encode() if isinstance(data, str) else data
        staged = await self.blobs.stage(TENANT, one(content), limit_bytes=10_000_000)
        async with self.database.transaction() as tx:
            if not uri:
                await tx.blobs.add(TENANT, staged.sha256, staged.size_bytes)
                await staged.keep()
            job = await tx.jobs.create(
                TENANT,
                self.collection.uid,
                NewDocument("books", document_id, **fields),
                chunking=chunking,
                content_sha256="" if uri else staged.sha256,
                fetch_uri=uri,
            )
        await staged.discard()
        await self.queue.publish([JobMessage(TENANT, job.id)])
        return job

    async def hold(self, job: Job) -> HeldLease:
        """Take the job's lease, as whoever works on it does."""
        async with self.database.transaction() as tx:
            lease = await tx.leases.acquire(TENANT, job.id, owner="test", ttl_s=60.0)
        assert lease is not None
        return HeldLease(self.database, lease, 60.0)

    async def run(self, job: Job, pipeline: IngestPipeline | None = None) -> Job:
        """Run the pipeline under a lease, which ends with the run."""
        lease = await self.hold(job)
        try:
            return await (pipeline or self.pipeline).run(job, lease)
        finally:
            async with self.database.transaction() as tx:
                await lease.release(tx)

    def consumer(self, **settings: Any) -> Consumer:
        """Return a consumer, which is not running yet."""
        options = {"concurrency": 2, "max_attempts": 3, "max_starts": 9, "backoff_s": 0.001, **settings}
        return Consumer(self.queue, self.database, self.pipeline, self.ended.release, **options)

    async def job(self, job_id: str) -> Job:
        async with self.database.snapshot() as tx:
            return await tx.jobs.get(TENANT, job_id)

    async def end_of(self, job_id: str) -> Job:
        """Wait until the job is final."""
        async with asyncio.timeout(60):
            while True:
                job = await self.job(job_id)
                if job.state.is_final:
                    return job
                await self.changed.wait()
                self.changed.clear()

    def visible(self) -> list[Chunk]:
        """Return the rows in order."""
        return sorted(
            self.rows.rows.values(), key=lambda row: (row.document_id, row.document_revision, row.ordinal)
        )


async def one(data: bytes) -> AsyncIterator[bytes]:
    yield data


@pytest.fixture
async def workshop(tmp_path: Path, database_url: str) -> AsyncIterator[Workshop]:
    database = await Database.open(database_url)
    blobs = LocalBlobStore(tmp_path / "blobs")
    await blobs.open()
    rows, fetches = Rows(), Fetches()
    async with database.transaction() as tx:
        collection = await tx.collections.create(
            TENANT, NewCollection("books", language="en"), embedding_model="hash-64", dimension=64
        )
    pipeline = IngestPipeline(
        database,
        blobs,
        rows,  # type: ignore[arg-type]  # the writing half of a chunk store
        HashEmbedder(),
        fetches,  # type: ignore[arg-type]  # all that is asked of a fetcher
        InProcessParser(),
        Analyzer.for_language,
        max_document_bytes=1_000_000,
        batch_chunks=BATCH,
    )
    sweeper = Sweeper(database, rows, blobs)  # type: ignore[arg-type]  # likewise
    made = Workshop(database, blobs, rows, fetches, InProcessJobQueue(), collection, pipeline, sweeper)
    database.on_jobs_changed(lambda jobs: made.changed.set())
    yield made
    await database.close()
