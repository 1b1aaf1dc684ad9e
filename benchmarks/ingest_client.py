"""Hands documents to a server and follows their jobs, for the benchmark of ingest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc

from rag.v1 import (
    collection_service_pb2,
    collection_service_pb2_grpc,
    document_service_pb2,
    document_service_pb2_grpc,
    ingest_service_pb2,
    ingest_service_pb2_grpc,
)

DEADLINE_S = 1800
_OPTIONS = [("grpc.max_receive_message_length", -1)]


@dataclass
class Run:
    """What became of the documents of one run."""

    seconds: float
    jobs: Sequence[ingest_service_pb2.Job]
    push_delays_s: list[float] = field(default_factory=list)
    """From each change of a job to its arrival at the one who watches it."""

    @property
    def chunk_count(self) -> int:
        """Chunks of all documents."""
        return sum(job.progress.chunk_count for job in self.jobs)


class IngestClient:
    """Calls one server."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._collections = collection_service_pb2_grpc.CollectionServiceStub(channel)
        self._documents = document_service_pb2_grpc.DocumentServiceStub(channel)
        self._ingest = ingest_service_pb2_grpc.IngestServiceStub(channel)

    async def create(self, name: str) -> None:
        """Make a collection."""
        await self._collections.CreateCollection(
            collection_service_pb2.CreateCollectionRequest(collection_id=name), timeout=60
        )

    async def submit(self, collection: str, name: str, data: bytes) -> str:
        """Hand in a document; return its job."""
        spec = ingest_service_pb2.DocumentSpec(document_id=name, file_name=name)
        request = ingest_service_pb2.IngestDocumentRequest(collection_id=collection, document=spec, data=data)
        return (await self._ingest.IngestDocument(request, timeout=120)).job.id

    async def changes(self, job_id: str) -> AsyncIterator[ingest_service_pb2.Job]:
        """Yield each change of a job from the first on."""
        request = ingest_service_pb2.WatchJobRequest(job_id=job_id, cursor="0")
        async for response in self._ingest.WatchJob(request, timeout=DEADLINE_S):
            yield response.job

    async def cancel(self, job_id: str) -> None:
        """Cancel a job."""
        await self._ingest.CancelJob(ingest_service_pb2.CancelJobRequest(job_id=job_id), timeout=60)

    async def ingest(self, collection: str, documents: Sequence[tuple[str, bytes]]) -> Run:
        """Hand in documents by name, all at once, and wait until each is searchable."""
        run = Run(0.0, [])
        started = time.perf_counter()
        run.jobs = await asyncio.gather(
            *(self._follow(collection, name, data, run) for name, data in documents)
        )
        run.seconds = time.perf_counter() - started
        for job in run.jobs:
            if job.state != ingest_service_pb2.JOB_STATE_SUCCEEDED:
                raise RuntimeError(f"{job.document_id}: {job.error.reason}: {job.error.message}")
        return run

    async def _follow(self, collection: str, name: str, data: bytes, run: Run) -> ingest_service_pb2.Job:
        job = ingest_service_pb2.Job()
        job_id = await self.submit(collection, name, data)
        opened = time.time()
        async for job in self.changes(job_id):
            changed = job.update_time.ToNanoseconds() / 1e9
            if changed > opened:  # what was before is not pushed but caught up with
                run.push_delays_s.append(time.time() - changed)
        return job

    async def texts(self, collection: str, jobs: Sequence[ingest_service_pb2.Job]) -> list[str]:
        """Return the texts of all chunks of documents."""
        found: list[str] = []
        for job in jobs:
            request = document_service_pb2.ListChunksRequest(
                collection_id=collection, document_id=job.document_id, page_size=1000
            )
            while True:
                page = await self._documents.ListChunks(request, timeout=60)
                found += [chunk.text for chunk in page.chunks]
                if not page.next_page_token:
                    break
                request.page_token = page.next_page_token
        return found


@asynccontextmanager
async def client_of(address: str) -> AsyncIterator[IngestClient]:
    """Give a client of the server at an address."""
    async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
        yield IngestClient(channel)
