"""F9: the vector store goes down and comes back. What is in memory answers; the rest says what is missing."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2

from rag.v1 import admin_service_pb2 as admin_pb
from rag.v1 import collection_service_pb2 as collection_pb
from rag.v1 import document_service_pb2 as document_pb
from rag.v1 import ingest_service_pb2 as ingest_pb
from rag.v1 import options_pb2, retrieved_chunk_pb2, retriever_pb2
from rag.v1 import retrieve_service_pb2 as retrieve_pb
from rag_server.app import RunningServer, running_server
from rag_server.errors import Unavailable
from rag_server.testing.store_process import StoreProcess
from tests.conftest import make_settings
from tests.rag_client import RagClient, failure

pytestmark = pytest.mark.asyncio(loop_scope="session")

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
RETRIEVE = "rag.v1.RetrieveService"


@dataclass
class Site:
    """A server whose store is a process of its own."""

    store: StoreProcess
    running: RunningServer
    client: RagClient

    async def collection(self, **documents: str) -> str:
        """Return the name of a new collection with these documents."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        await self.client.create_collection(name)
        for document_id, text in documents.items():
            await self.client.ingest_text(name, text, document_id)
        return name

    async def warm(self, name: str) -> None:
        """See to it that a collection is in memory."""
        await eventually(lambda: self._is_in_memory(name))

    async def _is_in_memory(self, name: str) -> bool:
        response = await self.client.search(name, "warm", explain=options_pb2.Explain())
        engine = response.explanation.collections[0].engine
        return engine == retriever_pb2.RETRIEVAL_ENGINE_RESIDENT

    async def delete(self, name: str, document_id: str) -> int:
        request = document_pb.DeleteDocumentRequest(collection_id=name, document_id=document_id)
        return int((await self.client.documents.DeleteDocument(request)).collection_revision)

    async def take_down(self) -> None:
        """Kill the store, and wait until the server has noticed."""
        self.store.kill()
        await eventually(lambda: self._has_health(NOT_SERVING))

    async def bring_back(self) -> None:
        """Start the store, and wait until the server has noticed; nothing happens when it runs."""
        self.store.start()
        await eventually(lambda: self._has_health(SERVING))

    async def _has_health(self, status: int) -> bool:
        return await self.health(RETRIEVE) == status

    async def components(self) -> dict[str, bool]:
        info = await self.client.admin.GetServerInfo(admin_pb.GetServerInfoRequest())
        return {each.name: each.is_serving for each in info.components}

    async def health(self, service: str) -> int:
        return int((await self.client.health.Check(health_pb2.HealthCheckRequest(service=service))).status)


async def eventually(condition: Callable[[], Awaitable[object]]) -> None:
    """Ask again and again until it is so."""
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - nothing sets an event in this process
            await asyncio.sleep(0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    store = StoreProcess(folder / "milvus")
    settings = make_settings(
        folder,
        server={"health_interval_s": 0.2},
        milvus={"uri": store.uri, "timeout_s": 5.0},
        ingest={"retry_backoff_s": 0.2, "max_attempts": 50},
    )
    try:
        async with running_server(settings) as running, RagClient(running.address) as client:
            yield Site(store, running, client)
    finally:
        store.kill()


@pytest_asyncio.fixture(loop_scope="session")
async def site(shared: Site) -> AsyncIterator[Site]:
    """Return the site with its store up; it is up again afterwards."""
    yield shared
    await shared.bring_back()


def found(response: retrieve_pb.RetrieveResponse) -> list[str]:
    return sorted(each.chunk.document_id for each in response.results)


def searched(response: retrieve_pb.RetrieveResponse) -> int:
    (only,) = response.collection_revisions
    return only.revision


async def test_store_down_what_is_in_memory_goes_on_and_deletes_hold(site: Site) -> None:
    name = await site.collection(heron="grey heron", crane="white crane heron")
    await site.warm(name)
    watch = site.client.health.Watch(health_pb2.HealthCheckRequest(service=RETRIEVE))
    assert (await watch.read()).status == SERVING

    site.store.kill()

    assert (await watch.read()).status == NOT_SERVING
    watch.cancel()
    assert await site.components() == {"metadata": True, "chunks": False, "embedder": True, "ingest": True}
    assert await site.health("rag.v1.CollectionService") == SERVING
    assert await site.health("rag.v1.DocumentService") == NOT_SERVING
    response = await site.client.search(name, "heron", context_chunks=1, duplicate_similarity=0.99)
    assert found(response) == ["crane", "heron"]
    assert not response.degradations

    revision = await site.delete(name, "crane")

    response = await site.client.search(name, "heron")
    assert found(response) == ["heron"]
    assert not response.degradations
    assert searched(response) == revision
    awaited = [retrieved_chunk_pb2.CollectionRevision(collection_id=name, revision=revision)]
    assert found(await site.client.search(name, "grey heron", min_revisions=awaited)) == ["heron"]
    shown = await site.client.collections.GetCollection(
        collection_pb.GetCollectionRequest(collection_id=name)
    )
    assert shown.collection.document_count == 1


async def test_store_down_a_collection_that_is_not_in_memory_cannot_be_searched(site: Site) -> None:
    name = await site.collection(heron="grey heron")
    await site.take_down()
    refused = await failure(site.client.search(name, "heron"))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "VECTOR_STORE_UNAVAILABLE")
    assert refused.retry_after_s is not None
    assert refused.retry_after_s > 0
    await site.bring_back()
    assert found(await site.client.search(name, "heron")) == ["heron"]


async def test_store_down_a_job_waits_for_it_and_ends_well(site: Site) -> None:
    name = await site.collection(heron="grey heron")
    await site.warm(name)
    await site.take_down()
    job = await site.client.submit(name, "white crane heron", "crane")
    watch = site.client.ingest.WatchJob(ingest_pb.WatchJobRequest(job_id=job.id))
    async for event in watch:
        if event.job.attempt_count > 1:
            break
    watch.cancel()
    response = await site.client.search(name, "heron")
    assert found(response) == ["heron"]
    assert not response.degradations
    await site.bring_back()
    ended = await site.client.end_of(job.id)
    assert ended.state == ingest_pb.JOB_STATE_SUCCEEDED
    assert found(await site.client.search(name, "heron")) == ["crane", "heron"]


@pytest.fixture
def reading_fails(site: Site, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what has the store fail when passages are read from it, while it still takes them."""

    async def fail(*_arguments: Any) -> Any:
        raise Unavailable("VECTOR_STORE_UNAVAILABLE", "the vector store does not answer")

    return lambda: monkeypatch.setattr(site.running.parts.chunks, "read_chunks", fail)


async def test_memory_that_is_behind_answers_and_says_so_until_it_has_caught_up(
    site: Site, reading_fails: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await site.collection(heron="grey heron", doomed="doomed heron", changed="heron of before")
    await site.warm(name)
    reading_fails()
    await site.client.ingest_text(name, "heron of after", "changed")
    await site.client.ingest_text(name, "another heron", "new")

    response = await site.client.search(name, "heron")
    assert list(response.degradations) == [retrieved_chunk_pb2.DEGRADATION_RESIDENT_STALE]
    assert searched(response) == 3
    assert found(response) == ["changed", "doomed", "heron"]
    info = await site.client.admin.GetServerInfo(admin_pb.GetServerInfoRequest())
    (retriever,) = [each for each in info.retrievers if each.collection_id == name]
    assert retriever.state == retriever_pb2.RETRIEVER_STATE_CATCHING_UP

    await site.delete(name, "doomed")
    response = await site.client.search(name, "heron")
    assert list(response.degradations) == [retrieved_chunk_pb2.DEGRADATION_RESIDENT_STALE]
    assert found(response) == ["changed", "heron"]
    again = await site.client.search(name, "heron")  # what is degraded is not kept
    assert "search" in {each.stage for each in again.timings.stages}

    monkeypatch.undo()

    async def is_whole() -> bool:
        return not (await site.client.search(name, "heron")).degradations

    await eventually(is_whole)
    response = await site.client.search(name, "heron")
    assert searched(response) == 6
    assert found(response) == ["changed", "heron", "new"]
    (text,) = [each.chunk.text for each in response.results if each.chunk.document_id == "changed"]
    assert text == "heron of after"
