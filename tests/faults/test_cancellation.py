"""A caller that leaves takes its work along: no task, no permit, no staged file stays behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from rag.v1 import collection_service_pb2 as collection_pb
from rag.v1 import generate_service_pb2 as generate_pb
from rag.v1 import ingest_service_pb2 as ingest_pb
from rag.v1 import retrieve_service_pb2 as retrieve_pb
from rag_server.app import running_server
from rag_server.backends.milvus.store import MilvusChunkStore
from tests.conftest import SettingsFactory
from tests.faults.polling import until
from tests.rag_client import RagClient, failure

COLLECTION = "left"
CALLERS = 8
STORE_ONLY = {"resident_memory_bytes": 0, "result_cache_bytes": 0}
"""Settings of retrieval with which every query is a search of the store."""
QUESTION: dict[str, Any] = {"collection_ids": [COLLECTION], "question": "Where does the heron wait?"}


class StuckSearches:
    """Stands before a method of the store: each caller waits there until it leaves."""

    def __init__(self) -> None:
        self.entered = 0
        self.left = 0

    async def __call__(self, *_arguments: Any, **_options: Any) -> list[Any]:
        self.entered += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.left += 1
        return []


@pytest.mark.parametrize("method", ["Retrieve", "BatchRetrieve", "Generate", "StreamGenerate"])
async def test_caller_that_leaves_a_search_leaves_nothing_behind(
    settings: SettingsFactory, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    stuck = StuckSearches()
    query = retrieve_pb.RetrieveRequest(collection_ids=[COLLECTION], query="heron")
    used = settings(server={"max_concurrent_calls": CALLERS}, retrieval=STORE_ONLY)
    async with running_server(used) as server, RagClient(server.address) as client:
        await client.create_collection(COLLECTION)
        await client.ingest_text(COLLECTION, "The heron waits by the river.", "heron")
        await client.search(COLLECTION, "heron")  # whatever is made with the first search is there
        tasks_before = len(asyncio.all_tasks())
        with monkeypatch.context() as patched:
            patched.setattr(MilvusChunkStore, "search_dense", stuck)
            start: Callable[[], Any] = {
                "Retrieve": lambda: client.retrieve.Retrieve(query),
                "BatchRetrieve": lambda: client.retrieve.BatchRetrieve(
                    retrieve_pb.BatchRetrieveRequest(requests=[query])
                ),
                "Generate": lambda: client.generate.Generate(generate_pb.GenerateRequest(**QUESTION)),
                "StreamGenerate": lambda: client.generate.StreamGenerate(
                    generate_pb.StreamGenerateRequest(**QUESTION)
                ),
            }[method]
            calls = [start() for _ in range(CALLERS)]
            await until(lambda: stuck.entered == CALLERS)
            refused = await failure(client.search(COLLECTION, "heron"))
            for call in calls:
                call.cancel()
            await until(lambda: stuck.left == CALLERS)

        assert refused.reason == "TOO_MANY_CONCURRENT_CALLS"
        await until(lambda: len(asyncio.all_tasks()) <= tasks_before)
        searches = (client.search(COLLECTION, "heron") for _ in range(CALLERS))
        assert all(found.results for found in await asyncio.gather(*searches))


async def test_deadline_reaches_the_search(
    settings: SettingsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = StuckSearches()
    used = settings(retrieval=STORE_ONLY)
    async with running_server(used) as server, RagClient(server.address) as client:
        await client.create_collection(COLLECTION)
        await client.ingest_text(COLLECTION, "The heron waits by the river.", "heron")
        monkeypatch.setattr(MilvusChunkStore, "search_dense", stuck)

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.retrieve.Retrieve(
                retrieve_pb.RetrieveRequest(collection_ids=[COLLECTION], query="heron"), timeout=1.0
            )

        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: stuck.left == 1)


async def test_deadline_reaches_a_search_that_waits_for_what_is_in_memory_to_catch_up(
    settings: SettingsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = StuckSearches()
    used = settings(server={"max_concurrent_calls": CALLERS})
    async with running_server(used) as server, RagClient(server.address) as client:
        await client.create_collection(COLLECTION)
        await client.ingest_text(COLLECTION, "The heron waits by the river.", "heron")
        await client.search(COLLECTION, "heron")
        with monkeypatch.context() as patched:
            patched.setattr(type(server.parts.chunks), "read_chunks", stuck)
            await client.ingest_text(COLLECTION, "The crane waits by the lake.", "crane")
            request = retrieve_pb.RetrieveRequest(collection_ids=[COLLECTION], query="heron crane")
            calls = [client.retrieve.Retrieve(request, timeout=1.0) for _ in range(CALLERS)]
            ended = await asyncio.gather(*calls, return_exceptions=True)

        codes = {each.code() for each in ended if isinstance(each, grpc.aio.AioRpcError)}
        assert codes == {grpc.StatusCode.DEADLINE_EXCEEDED}
        assert stuck.entered == 1  # all wait for the one that reads
        assert await client.collections.GetCollection(
            collection_pb.GetCollectionRequest(collection_id=COLLECTION)
        )
    assert stuck.left == 1


async def test_caller_that_leaves_an_upload_leaves_no_file_and_no_job(settings: SettingsFactory) -> None:
    used = settings(server={"max_concurrent_calls": 1})
    staging = Path(used.storage.data_dir) / "blobs" / ".staging"

    async def never_complete() -> AsyncIterator[ingest_pb.UploadDocumentRequest]:
        yield ingest_pb.UploadDocumentRequest(start=ingest_pb.UploadStart(collection_id=COLLECTION))
        yield ingest_pb.UploadDocumentRequest(data=b"never complete")
        await asyncio.Event().wait()

    async with running_server(used) as server, RagClient(server.address) as client:
        await client.create_collection(COLLECTION)
        upload = client.ingest.UploadDocument(never_complete())
        await until(lambda: any(file.stat().st_size for file in staging.iterdir()))

        upload.cancel()

        await until(lambda: not any(staging.iterdir()))
        jobs = await client.ingest.ListJobs(ingest_pb.ListJobsRequest())
        assert not jobs.jobs
        await client.ingest_text(COLLECTION, "The permit is free again.")
