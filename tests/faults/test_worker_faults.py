"""F1, F2, F4-F7: what becomes of jobs when workers, servers and the broker fail around them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import aio_pika
import grpc
import pytest

from rag.v1 import ingest_service_pb2 as ingest_pb
from rag_server.backends.protocols import JobMessage
from rag_server.backends.rabbitmq.codec import encode_job
from rag_server.domain.priority import Priority
from rag_server.testing.server_process import MAIN
from tests.brokers import AMQP_URL
from tests.faults.distributed import CHUNKING, PATIENCE_S, WORKER, Site, site_in, states_of
from tests.rag_client import RagClient, failure
from tests.tcp_proxy import TcpProxy

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600)]

STEPS = ("fetch", "parse", "embed", "upsert", "flip", "commit", "ack")
SUCCEEDED, FAILED = ingest_pb.JOB_STATE_SUCCEEDED, ingest_pb.JOB_STATE_FAILED
FINAL = {SUCCEEDED, FAILED, ingest_pb.JOB_STATE_CANCELLED}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with site_in(tmp_path) as site:
        yield site


async def killed(site: Site, failpoint: str) -> None:
    """Run a worker in a process of its own until its failpoint kills it."""
    process = site.process(WORKER, failpoint=failpoint)
    assert await asyncio.to_thread(process.wait, PATIENCE_S) == -signal.SIGKILL, process.log


async def ends_of(client: RagClient, jobs: dict[str, str]) -> dict[str, ingest_pb.Job]:
    async with asyncio.timeout(PATIENCE_S):
        return {
            document_id: await client.end_of(job_id, timeout_s=PATIENCE_S)
            for document_id, job_id in jobs.items()
        }


async def test_worker_killed_before_and_after_each_step_loses_and_doubles_nothing(site: Site) -> None:
    _, client = await site.server()
    await client.create_collection(site.collection, chunking=CHUNKING)
    jobs: dict[str, str] = {}
    points = [f"{step}.{when}" for step in STEPS for when in ("before", "after")]
    for number, point in enumerate(points):
        jobs |= await site.submit(client, number)
        await killed(site, point)
    jobs |= await site.submit(client, len(points))  # undisturbed
    await site.worker(ingest={"concurrency": 4})
    ended = await ends_of(client, jobs)

    assert {job.state for job in ended.values()} == {SUCCEEDED}
    assert {job.document_revision for job in ended.values()} == {1}
    # each kill up to that before the commit made somebody start a job anew, whichever job it was that it hit
    assert sum(job.attempt_count - 1 for job in ended.values()) >= points.index("commit.before") + 1
    undisturbed = [text for _, text in await site.chunks(client, f"doc-{len(points)}")]
    for number in range(len(points)):
        texts = [text for _, text in await site.chunks(client, f"doc-{number}")]
        assert len(texts) == len(undisturbed)
        assert f"Document {number} has" in texts[0]
    for job_id in jobs.values():
        assert sum(state in FINAL for state in await states_of(client, job_id)) == 1
    await site.assert_stores_agree()


async def test_server_killed_between_commit_and_publish_leaves_no_job_behind(site: Site) -> None:
    process = site.process(MAIN, failpoint="publish.before")
    address = await asyncio.to_thread(lambda: process.address)
    async with RagClient(address) as client:
        await client.create_collection(site.collection, chunking=CHUNKING)
        with suppress(grpc.aio.AioRpcError):  # accepted, whether somebody was still told or not
            await site.submit(client, 1)
        assert await asyncio.to_thread(process.wait, PATIENCE_S) == -signal.SIGKILL
    # the next one publishes what this one left behind, and dies before it can note that
    process = site.process(MAIN, failpoint="publish.after")
    assert await asyncio.to_thread(process.wait, PATIENCE_S) == -signal.SIGKILL

    _, client = await site.server()
    await site.worker()
    listed = await client.ingest.ListJobs(ingest_pb.ListJobsRequest(collection_id=site.collection))
    ended = await ends_of(client, {job.document_id: job.id for job in listed.jobs})
    assert {name: job.state for name, job in ended.items()} == {"doc-1": SUCCEEDED}
    assert {job.document_revision for job in ended.values()} == {1}
    await site.assert_stores_agree()


async def test_broker_lost_in_the_middle_of_ingest_every_job_ends_once(site: Site) -> None:
    parts = urlsplit(AMQP_URL)
    async with TcpProxy(parts.hostname or "", parts.port or 5672) as proxy:
        url = AMQP_URL.replace(f"{parts.hostname}:{parts.port}", f"127.0.0.1:{proxy.port}")
        _, client = await site.server(queue={"url": url})
        await site.worker(queue={"url": url}, ingest={"concurrency": 2})
        await client.create_collection(site.collection, chunking=CHUNKING)
        jobs = await site.submit(client, *range(3))
        await proxy.down()
        jobs |= await site.submit(client, *range(3, 6))  # accepted without a broker
        await asyncio.sleep(0.5)
        await proxy.up()
        for _ in range(3):
            await asyncio.sleep(0.5)
            proxy.drop()
        ended = await ends_of(client, jobs)
        assert {job.state for job in ended.values()} == {SUCCEEDED}
        for job_id in jobs.values():
            assert sum(state in FINAL for state in await states_of(client, job_id)) == 1
        await site.assert_stores_agree()
        await site.stack.aclose()


async def test_job_accepted_while_its_queue_is_missing_waits_in_the_outbox_and_is_done(site: Site) -> None:
    running, client = await site.server()
    await client.create_collection(site.collection, chunking=CHUNKING)
    async with await aio_pika.connect(AMQP_URL) as connection:
        channel = await connection.channel()
        await channel.queue_delete(site.topology.jobs(Priority.INTERACTIVE))
    jobs = await site.submit(client, 1, 2)
    await site.worker()
    ended = await ends_of(client, jobs)
    assert {job.state for job in ended.values()} == {SUCCEEDED}
    async with running.parts.database.snapshot() as tx:
        assert await tx.outbox.waiting(up_to=9) == 0


async def test_poison_job_is_dead_lettered_others_go_on_and_retry_revives_it(site: Site) -> None:
    starts = {"max_starts": 2, "lease_s": 3.0}
    _, client = await site.server()
    await client.create_collection(site.collection, chunking=CHUNKING)
    poison = await site.submit(client, 1)
    for _ in range(2):
        process = site.process(WORKER, failpoint="fetch.before", ingest={**site.groups()["ingest"], **starts})
        assert await asyncio.to_thread(process.wait, PATIENCE_S) == -signal.SIGKILL
    refused = await failure(client.ingest.RetryJob(ingest_pb.RetryJobRequest(job_id=poison["doc-1"])))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "JOB_NOT_FAILED")

    await site.worker(ingest=starts)
    dead = (await ends_of(client, poison))["doc-1"]
    assert (dead.state, dead.error.reason) == (FAILED, "ATTEMPTS_EXHAUSTED")
    later = await ends_of(client, await site.submit(client, 2))
    assert later["doc-2"].state == SUCCEEDED, later["doc-2"].error

    request = ingest_pb.RetryJobRequest(job_id=dead.id, request_id="7f9c24e8-3b12-4fef-91e0-1234567890ab")
    revived = (await client.ingest.RetryJob(request)).job
    assert (revived.state, revived.attempt_count) == (ingest_pb.JOB_STATE_QUEUED, 0)
    assert (await client.ingest.RetryJob(request)).job == revived
    done = (await ends_of(client, poison))["doc-1"]
    assert (done.state, done.document_revision) == (SUCCEEDED, 2)
    await site.assert_stores_agree()


async def test_same_message_delivered_five_times_at_once_is_one_revision(site: Site) -> None:
    _, client = await site.server(queue={"poll_s": 3600.0})
    await client.create_collection(site.collection, chunking=CHUNKING)
    jobs = await site.submit(client, 1)
    body = encode_job(JobMessage("default", jobs["doc-1"]))
    async with await aio_pika.connect(AMQP_URL) as connection:
        channel = await connection.channel()
        for _ in range(4):  # the fifth is the server's own
            message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            name = site.topology.jobs(Priority.INTERACTIVE)
            await channel.default_exchange.publish(message, name)
    # long enough not to be lost on a busy machine, which would be right, and more than one attempt
    lease = {"concurrency": 3, "lease_s": 6.0}
    await site.worker(ingest=lease)
    await site.worker(ingest=lease)
    done = (await ends_of(client, jobs))["doc-1"]
    assert (done.state, done.attempt_count, done.document_revision) == (SUCCEEDED, 1, 1)
    await asyncio.sleep(7.0)  # those that found it taken have come back by now
    after = (await client.ingest.GetJob(ingest_pb.GetJobRequest(job_id=done.id))).job
    assert after == done
    await site.assert_stores_agree()


async def test_worker_told_to_stop_drains_and_exits_with_0(site: Site) -> None:
    _, client = await site.server()
    await client.create_collection(site.collection, chunking=CHUNKING)
    jobs = await site.submit(client, *range(4))
    process = site.process(WORKER)
    await asyncio.to_thread(process.wait_for_event, "job ended")
    assert await asyncio.to_thread(process.stop) == 0
    assert [event["event"] for event in process.events()][-1] == "stopped"
    await site.worker()
    ended = await ends_of(client, jobs)
    assert {(job.state, job.attempt_count <= 2) for job in ended.values()} == {(SUCCEEDED, True)}
    await site.assert_stores_agree()
