"""IngestDocuments with clients that leave, fall silent, do not read or do not stop; a server that stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from rag.v1 import ingest_service_pb2 as pb
from rag.v1 import ingest_service_pb2_grpc as pb_grpc
from rag_server.app import running_server
from rag_server.config import Settings
from rag_server.ingest.submit import Submitter
from tests.conftest import SettingsFactory
from tests.faults.polling import until
from tests.rag_client import RagClient, failure, next_of

COLLECTION = "streamed"
START = pb.IngestDocumentsRequest(start=pb.IngestDocumentsStart(collection_id=COLLECTION))


def item(number: int, size: int = 100) -> pb.IngestDocumentsRequest:
    text = f"Document {number}. ".ljust(size, "x")
    return pb.IngestDocumentsRequest(item=pb.IngestDocumentsItem(item_id=str(number), text=text))


async def endless(size: int = 100) -> AsyncIterator[pb.IngestDocumentsRequest]:
    """Yield a start and items for ever, whatever the window says."""
    yield START
    for number in range(1_000_000):
        yield item(number, size)


def staged_in(settings: Settings) -> list[Path]:
    return list((Path(settings.storage.data_dir) / "blobs" / ".staging").iterdir())


class Gate:
    """Stands before the acceptance of jobs, with the document's bytes staged."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered = 0
        self.is_open = asyncio.Event()
        accept = Submitter.accept

        async def waiting(submitter: Submitter, *arguments: Any, **options: Any) -> Any:
            self.entered += 1
            await self.is_open.wait()
            return await accept(submitter, *arguments, **options)

        monkeypatch.setattr(Submitter, "accept", waiting)


async def test_caller_that_leaves_a_stream_leaves_no_file_no_job_and_no_task(
    settings: SettingsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = settings(server={"max_concurrent_calls": 1})
    async with running_server(used) as server, RagClient(server.address) as client:
        await client.create_collection(COLLECTION)
        tasks_before = len(asyncio.all_tasks())
        with monkeypatch.context() as patched:
            gate = Gate(patched)
            call = client.ingest.IngestDocuments(endless())
            await until(lambda: gate.entered == 1)
            assert len(staged_in(used)) == 1

            call.cancel()

            await until(lambda: not staged_in(used))
        await until(lambda: len(asyncio.all_tasks()) <= tasks_before)
        assert not (await client.ingest.ListJobs(pb.ListJobsRequest())).jobs
        await client.ingest_text(COLLECTION, "The permit is free again.")


async def test_client_that_ignores_the_window_is_refused(settings: SettingsFactory) -> None:
    used = settings(ingest={"stream_window_items": 4})
    async with running_server(used) as server, RagClient(server.address) as client:
        await client.create_collection(COLLECTION)
        # few enough that all are sent before the refusal: grpc.aio's client loses the status of a stream
        # that ends while it writes
        call = client.ingest.IngestDocuments(timeout=60)
        await call.write(START)
        for number in range(20):
            await call.write(item(number))
        refused = await failure(call)
        jobs = await client.ingest.ListJobs(pb.ListJobsRequest(page_size=1000))

    assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (refused.reason, refused.metadata) == ("WINDOW_EXCEEDED", {"limit": "4"})
    assert refused.retry_after_s is None
    assert jobs.jobs  # what came within the window


async def test_client_that_falls_silent_is_ended_and_its_permit_is_free(settings: SettingsFactory) -> None:
    used = settings(server={"max_concurrent_calls": 1, "stream_idle_s": 0.3})
    async with running_server(used) as server, RagClient(server.address) as client:
        await client.create_collection(COLLECTION)
        call = client.ingest.IngestDocuments()
        await call.write(START)
        await call.write(item(1))
        assert (await next_of(call)).window.item_count
        assert (await next_of(call)).item.job.id
        refused = await failure(call)
        silent = await failure(client.ingest.IngestDocuments(timeout=30))
        await client.ingest_text(COLLECTION, "The permit is free again.")

    assert (refused.code, refused.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "STREAM_IDLE")
    assert refused.metadata == {"limit_s": "0.3"}
    assert silent.reason == "STREAM_IDLE"


async def test_upload_that_falls_silent_is_ended_and_leaves_no_file(settings: SettingsFactory) -> None:
    used = settings(server={"stream_idle_s": 0.3})
    async with running_server(used) as server, RagClient(server.address) as client:
        await client.create_collection(COLLECTION)
        upload = client.ingest.UploadDocument()
        await upload.write(pb.UploadDocumentRequest(start=pb.UploadStart(collection_id=COLLECTION)))
        await upload.write(pb.UploadDocumentRequest(data=b"and then nothing"))
        refused = await failure(upload)
        assert not staged_in(used)

    assert (refused.code, refused.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "STREAM_IDLE")


async def test_client_that_reads_no_answers_is_ended(settings: SettingsFactory) -> None:
    """Its answers fill gRPC's buffers; then a write waits for it, no longer than the limit."""
    used = settings(
        server={"stream_idle_s": 1.0, "max_concurrent_calls": 1}, ingest={"stream_window_items": 10_000}
    )
    long_name = "n" * 256
    wrong = pb.IngestDocumentsRequest(item=pb.IngestDocumentsItem(item_id=long_name))
    ended = asyncio.Event()

    async def wrong_for_ever() -> AsyncIterator[pb.IngestDocumentsRequest]:
        yield START
        while not ended.is_set():
            yield wrong

    with capture_logs() as logs:
        await _until_ended(used, wrong_for_ever(), ended)
    reasons = [line.get("reason") for line in logs if str(line.get("method")).endswith("/IngestDocuments")]
    assert reasons == ["STREAM_IDLE"]


async def _until_ended(
    used: Settings, requests: AsyncIterator[pb.IngestDocumentsRequest], ended: asyncio.Event
) -> None:
    """Send `requests` and read nothing but the first answer, until the server has ended the stream."""
    async with running_server(used) as server:
        # a small window of the client's, so that few answers fill it
        options = [("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0)]
        async with RagClient(server.address) as client:
            await client.create_collection(COLLECTION)
            channel = grpc.aio.insecure_channel(server.address, options=options)
            call = pb_grpc.IngestServiceStub(channel).IngestDocuments(requests)
            assert (await next_of(call)).window.item_count  # the only answer that is read: it has the permit
            async with asyncio.timeout(60):
                while True:  # the only permit is taken until the stream is ended
                    try:
                        await client.create_collection("other")
                        break
                    except grpc.aio.AioRpcError as error:
                        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017
                        await asyncio.sleep(0.1)
            ended.set()
            call.cancel()
            await channel.close()


async def test_server_that_stops_ends_the_stream_and_says_so(settings: SettingsFactory) -> None:
    used = settings(server={"shutdown_grace_s": 20.0})
    async with asyncio.timeout(60):
        async with running_server(used) as server:
            client = RagClient(server.address)
            await client.create_collection(COLLECTION)
            call = client.ingest.IngestDocuments()
            await call.write(START)
            await call.write(item(1))
            await next_of(call)
            assert (await next_of(call)).item.job.id
        refused = await failure(call)
        await client.channel.close()
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_STOPPING")
