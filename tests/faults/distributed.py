"""A distributed set-up on this machine: servers and workers on one broker, one vector store, one database."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rag.v1 import chunking_pb2
from rag.v1 import document_service_pb2 as document_pb
from rag.v1 import ingest_service_pb2 as ingest_pb
from rag_server.app import RunningServer, running_server
from rag_server.app_worker import RunningWorker, running_worker
from rag_server.backends.local_blobs import LocalBlobStore
from rag_server.backends.milvus.store import MilvusChunkStore
from rag_server.backends.rabbitmq.topology import Topology
from rag_server.config import Settings
from rag_server.domain.document import chunk_id
from rag_server.metadata.database import Database
from rag_server.testing.orphans import assert_no_orphans
from rag_server.testing.server_process import ServerProcess
from rag_server.testing.store_process import StoreProcess
from tests import databases
from tests.brokers import AMQP_URL, own_topology
from tests.rag_client import RagClient

WORKER = ("-m", "ingest_worker")
CHUNKING = chunking_pb2.Chunking(tokens=chunking_pb2.TokenChunking(max_tokens=32, overlap_ratio=0))
PARAGRAPHS = 12
PATIENCE_S = 300.0


def text_of(number: int) -> str:
    """Return a document of some ten chunks, which fill three batches."""
    return "\n\n".join(
        f"Document {number} has a paragraph {each}, which says that crate {number * 100 + each} holds "
        f"{each * 7 + number} green bottles and stands on shelf {each % 5} of hall {number}."
        for each in range(PARAGRAPHS)
    )


@dataclass
class Site:
    """What all processes share, and a way to start them."""

    folder: Path
    store: StoreProcess
    topology: Topology
    database_url: str
    stack: AsyncExitStack
    collection: str = field(default_factory=lambda: f"c-{uuid.uuid4().hex[:8]}")

    def groups(self, **changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Return settings by group, `changes` laid over them."""
        groups: dict[str, dict[str, Any]] = {
            "server": {"port": 0, "shutdown_grace_s": 5.0},
            "worker": {"port": 0, "drain_grace_s": 10.0},
            "storage": {"data_dir": str(self.folder / "data")},
            "database": {"url": self.database_url},
            "milvus": {"uri": self.store.uri},
            "queue": {"url": AMQP_URL, "prefix": self.topology.prefix, "poll_s": 0.5},
            "ingest": {"embedding_batch_chunks": 4, "lease_s": 5.0, "retry_backoff_s": 0.1},
        }
        for name, values in changes.items():
            groups[name] = {**groups.get(name, {}), **values}
        return groups

    def process(self, program: tuple[str, ...], *, failpoint: str = "", **changes: Any) -> ServerProcess:
        """Start a process of its own; it is gone at the end of the test."""
        groups = self.groups(**changes)
        flat = {
            f"{group}__{name}": value
            for group, values in groups.items()
            for name, value in values.items()
            if (group, name) != ("storage", "data_dir")
        }
        process = ServerProcess(self.folder / "data", program=program, failpoint=failpoint, **flat)
        self.stack.callback(process.close)
        return process

    async def server(self, **changes: Any) -> tuple[RunningServer, RagClient]:
        """Run a server in this process."""
        settings = Settings.model_validate(self.groups(**changes))
        running = await self.stack.enter_async_context(running_server(settings))
        return running, await self.stack.enter_async_context(RagClient(running.address))

    async def worker(self, **changes: Any) -> RunningWorker:
        """Run a worker in this process."""
        settings = Settings.model_validate(self.groups(**changes))
        return await self.stack.enter_async_context(running_worker(settings))

    async def submit(self, client: RagClient, *numbers: int) -> dict[str, str]:
        """Hand in documents; return the job ids by document."""
        return {
            f"doc-{number}": (await client.submit(self.collection, text_of(number), f"doc-{number}")).id
            for number in numbers
        }

    async def chunks(self, client: RagClient, document_id: str) -> list[tuple[int, str]]:
        """Return ordinals and texts of what readers see."""
        request = document_pb.ListChunksRequest(
            collection_id=self.collection, document_id=document_id, page_size=1000
        )
        response = await client.documents.ListChunks(request)
        return [(chunk.ordinal, chunk.text) for chunk in response.chunks]

    async def assert_stores_agree(self) -> None:
        """Each chunk of each document is in the store once, under the id of its place; no more (F16)."""
        database = await Database.open(self.database_url)
        store = await MilvusChunkStore.open(self.store.uri)
        blobs = LocalBlobStore(self.folder / "data" / "blobs")
        try:
            await assert_no_orphans(database, store, blobs)
            async with database.snapshot() as tx:
                collection = await tx.collections.get("default", self.collection)
                documents = await tx.documents.list("default", collection.uid, limit=1000)
            assert documents
            count = 0
            for document in documents:
                rows = await store.list_chunks(
                    collection, document.id, document.revision, first_ordinal=0, limit=1000
                )
                assert [row.id for row in rows] == [
                    chunk_id("default", collection.uid, document.id, document.revision, ordinal)
                    for ordinal in range(document.chunk_count)
                ]
                count += len(rows)
            assert await store.count(collection) == collection.chunk_count == count
        finally:
            await store.close()
            await database.close()


async def states_of(client: RagClient, job_id: str) -> list[int]:
    """Return the states that a job has gone through, as `WatchJob` tells them from the first on."""
    request = ingest_pb.WatchJobRequest(job_id=job_id, cursor="0")
    return [response.job.state async for response in client.ingest.WatchJob(request)]


@asynccontextmanager
async def site_in(folder: Path, **topology: int) -> AsyncIterator[Site]:
    """Give a set-up without any server or worker yet."""
    store_folder = folder / "store"
    store_folder.mkdir()
    async with own_topology(**topology) as names, AsyncExitStack() as stack:
        name = stack.enter_context(databases.postgres_database())
        store = await asyncio.to_thread(StoreProcess, store_folder)
        stack.callback(store.kill)
        yield Site(folder, store, names, databases.url_of(name), stack)
