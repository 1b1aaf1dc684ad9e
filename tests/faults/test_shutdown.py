"""F12: SIGTERM with live streams: health flips first, streams drain within the grace period, exit code 0."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from rag.v1 import generate_service_pb2 as generate_pb
from rag.v1 import ingest_service_pb2 as ingest_pb
from rag_server.testing.server_process import ServerProcess, ServerStarter
from tests.faults.polling import until
from tests.rag_client import RagClient, failure_of

GATED_SERVER = Path(__file__).with_name("gated_server.py")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICES = ["", "rag.v1.GenerateService", "rag.v1.IngestService"]
QUESTION = generate_pb.StreamGenerateRequest(collection_ids=["live"], question="Where does the heron wait?")


async def statuses_of(client: RagClient, service: str) -> list[int]:
    """Watch a service's health to the end of the stream; return what was seen."""
    seen: list[int] = []
    with suppress(grpc.aio.AioRpcError):
        async for response in client.health.Watch(health_pb2.HealthCheckRequest(service=service)):
            seen.append(response.status)  # noqa: PERF401 - what came before the error counts
    return seen


async def watch(client: RagClient, request: ingest_pb.WatchJobRequest, cursors: list[str]) -> ingest_pb.Job:
    """Follow a job, keeping the cursors; return its last state."""
    job = ingest_pb.Job()
    async for response in client.ingest.WatchJob(request):
        job = response.job
        cursors.append(response.cursor)
    return job


async def event_kinds(answer: Any) -> list[str]:
    """Read an answer to its end; return the kinds of its events."""
    kinds = []
    while (event := await answer.read()) is not grpc.aio.EOF:
        kinds.append(str(event.WhichOneof("event")))
    return kinds


async def until_sources(answer: Any) -> None:
    """Read an answer up to its sources."""
    while (await answer.read()).WhichOneof("event") != "retrieved":
        pass


async def refused(client: RagClient) -> grpc.StatusCode:
    """Ask for an answer on a new call; return the status that it ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await event_kinds(client.generate.StreamGenerate(QUESTION))
    return caught.value.code()


async def with_a_document(client: RagClient, gate: Path) -> None:
    """Ingest a document through the open gate, then close it."""
    gate.touch()
    await client.create_collection("live")
    await client.ingest_text("live", "The heron waits by the river.", "heron")
    gate.unlink()


async def test_sigterm_flips_health_and_drains_the_streams(
    start_server: ServerStarter, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    process = start_server(program=[str(GATED_SERVER), str(gate)], server__shutdown_grace_s=30)
    first_sent, may_finish = asyncio.Event(), asyncio.Event()

    async def upload() -> AsyncIterator[ingest_pb.UploadDocumentRequest]:
        yield ingest_pb.UploadDocumentRequest(start=ingest_pb.UploadStart(collection_id="live"))
        yield ingest_pb.UploadDocumentRequest(data=b"Half of it came before, ")
        first_sent.set()
        await may_finish.wait()
        yield ingest_pb.UploadDocumentRequest(data=b"half after the signal.")

    async with RagClient(process.address) as client:
        await with_a_document(client, gate)
        watched = [asyncio.create_task(statuses_of(client, service)) for service in SERVICES]
        answer = client.generate.StreamGenerate(QUESTION)
        await until_sources(answer)
        uploading = asyncio.ensure_future(client.ingest.UploadDocument(upload()))
        await first_sent.wait()
        job = await client.submit("live", "A job that is running when the signal comes.", "waiting")
        cursors: list[str] = []
        watching = asyncio.create_task(watch(client, ingest_pb.WatchJobRequest(job_id=job.id), cursors))
        await until(lambda: len(cursors) >= 2)

        process.send(signal.SIGTERM)
        process.wait_for_event("stopping")
        with pytest.raises(grpc.aio.AioRpcError) as stopped:
            await watching
        assert await refused(client) is grpc.StatusCode.UNAVAILABLE
        assert not answer.done()
        assert not uploading.done()
        may_finish.set()
        accepted = await uploading
        gate.touch()
        rest = await event_kinds(answer)
        seen = await asyncio.gather(*watched)

    assert failure_of(stopped.value).reason == "SERVER_STOPPING"
    assert stopped.value.code() is grpc.StatusCode.UNAVAILABLE
    assert accepted.size_bytes == len(b"Half of it came before, half after the signal.")
    assert rest[-1] == "finished"
    assert "citation" in rest
    assert seen == [[SERVING, NOT_SERVING]] * len(SERVICES)
    assert process.wait() == 0
    assert "stopped" in [event["event"] for event in process.events()]

    restarted = start_server()
    async with RagClient(restarted.address) as client:
        ended = await watch(client, ingest_pb.WatchJobRequest(job_id=job.id, cursor=cursors[-1]), cursors)
        uploaded = await client.end_of(accepted.job.id)
    assert ended.state == uploaded.state == ingest_pb.JOB_STATE_SUCCEEDED
    assert [int(cursor) for cursor in cursors] == list(range(1, ended.sequence + 1))


async def stop_with_a_stuck_answer(process: ServerProcess, gate: Path, *signals: signal.Signals) -> int:
    """Send the signals while an answer waits for ever; return the exit code."""
    async with RagClient(process.address) as client:
        await with_a_document(client, gate)
        answer = client.generate.StreamGenerate(QUESTION)
        await until_sources(answer)
        for each in signals:
            process.send(each)
            process.wait_for_event("stopping")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await event_kinds(answer)
    assert caught.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    return await asyncio.to_thread(process.wait)


async def test_stream_that_outlasts_the_grace_period_is_cut_off_with_an_error(
    start_server: ServerStarter, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    process = start_server(program=[str(GATED_SERVER), str(gate)], server__shutdown_grace_s=1)

    assert await stop_with_a_stuck_answer(process, gate, signal.SIGTERM) == 0


async def test_second_sigterm_changes_nothing(start_server: ServerStarter, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    process = start_server(program=[str(GATED_SERVER), str(gate)], server__shutdown_grace_s=1)

    assert await stop_with_a_stuck_answer(process, gate, signal.SIGTERM, signal.SIGTERM) == 0
    assert [event["event"] for event in process.events()].count("stopping") == 1


async def test_sigint_stops_an_idle_server_at_once(start_server: ServerStarter) -> None:
    process = start_server(server__shutdown_grace_s=3600)
    assert process.address

    process.send(signal.SIGINT)

    assert process.wait() == 0
    assert "Traceback" not in process.log
