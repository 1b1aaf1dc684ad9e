"""`make demo-distributed`: a server and two workers share a broker and a database; one worker is killed.

Each is a process of its own, over a PostgreSQL database and RabbitMQ queues that are made for the demo and
removed after it, and a `milvus-lite server` for the chunks. In the middle of the ingest one worker is killed,
as a machine that loses power would end it. The demo shows where its jobs went, and has the stores compared;
its exit code is 1 unless each document is searchable once and nothing is left over.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aio_pika
import asyncpg
import grpc
from sqlalchemy import make_url

from rag.v1 import admin_service_pb2 as admin_pb
from rag.v1 import admin_service_pb2_grpc as admin_grpc
from rag.v1 import collection_service_pb2 as collection_pb
from rag.v1 import collection_service_pb2_grpc as collection_grpc
from rag.v1 import ingest_service_pb2 as ingest_pb
from rag.v1 import ingest_service_pb2_grpc as ingest_grpc
from rag_server.backends.rabbitmq.topology import Topology
from rag_server.testing.server_process import MAIN, ServerProcess
from rag_server.testing.store_process import StoreProcess

POSTGRES_URL = os.environ.get("RAG_TEST_POSTGRES_URL") or "postgresql://postgres@127.0.0.1:5432"
AMQP_URL = os.environ.get("RAG_TEST_AMQP_URL") or "amqp://guest:guest@127.0.0.1:5672/"
WORKER = ("-m", "ingest_worker")
COLLECTION = "warehouse"
LEASE_S = 5
PATIENCE_S = 300
_POLL_S = 0.5
_FINAL = frozenset({ingest_pb.JOB_STATE_SUCCEEDED, ingest_pb.JOB_STATE_FAILED, ingest_pb.JOB_STATE_CANCELLED})


class DemoError(Exception):
    """The demo cannot go on, or saw what must not be; the text says what."""


def document(number: int) -> str:
    """Return a document of about a dozen chunks."""
    paragraphs = (
        f"Crate {number * 100 + each} of hall {number} stands on shelf {each % 5} and holds "
        f"{each * 7 + number} green bottles, which were counted on day {each + 1} and are checked again "
        f"every {each % 9 + 2} weeks. Who takes one notes the crate and the hour in the list beside the door."
        for each in range(20)
    )
    return f"# Hall {number}\n\n" + "\n\n".join(paragraphs)


@asynccontextmanager
async def own_database(server_url: str) -> AsyncIterator[str]:
    """Give the URL of a database made for the demo, and drop it afterwards. Raises `DemoError`."""
    name = f"rag_demo_{uuid.uuid4().hex[:8]}"
    url = make_url(server_url).set(drivername="postgresql")

    async def execute(statement: str) -> None:
        try:
            connection = await asyncpg.connect(
                url.set(database="postgres").render_as_string(hide_password=False), timeout=10
            )
        except (OSError, asyncpg.PostgresError) as error:
            raise DemoError("no PostgreSQL answers: `python scripts/test_services.py` starts one") from error
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    await execute(f"CREATE DATABASE {name}")
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        await execute(f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def own_queues(url: str) -> AsyncIterator[str]:
    """Give a prefix for queues of the demo's own, and delete them afterwards. Raises `DemoError`."""
    topology = Topology(f"rag-demo-{uuid.uuid4().hex[:8]}", 20)
    try:
        connection = await aio_pika.connect(url, timeout=10)
    except OSError as error:
        raise DemoError("no RabbitMQ answers: `python scripts/test_services.py` starts one") from error
    async with connection:
        try:
            yield topology.prefix
        finally:
            await topology.delete(await connection.channel())


@contextmanager
def processes(
    folder: Path, settings: Mapping[str, object]
) -> Iterator[tuple[ServerProcess, list[ServerProcess]]]:
    """Run a server and two workers; what still runs at the end is stopped."""
    started: list[ServerProcess] = []
    try:
        for program in (MAIN, WORKER, WORKER):
            started.append(ServerProcess(folder, program=program, **settings))
            name = "server" if program is MAIN else f"worker {len(started) - 1}"
            event = started[-1].wait_for_event(
                "serving" if program is MAIN else "working", timeout_s=PATIENCE_S
            )
            print(f"{name:<9} process {started[-1].pid}, {event['address']}", flush=True)
        yield started[0], started[1:]
    finally:
        for process in started:
            process.close()


class Ingest:
    """Hands in documents and follows their jobs."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = ingest_grpc.IngestServiceStub(channel)

    async def submit(self, count: int) -> None:
        """Hand in all documents; each call returns once its job cannot get lost any more."""
        await asyncio.gather(*(self._submit(number) for number in range(count)))

    async def _submit(self, number: int) -> None:
        spec = ingest_pb.DocumentSpec(document_id=f"hall-{number}.md", title=f"Hall {number}")
        request = ingest_pb.IngestDocumentRequest(
            collection_id=COLLECTION, document=spec, text=document(number)
        )
        await self._stub.IngestDocument(request, timeout=60)

    async def jobs(self) -> Sequence[ingest_pb.Job]:
        """Return all jobs."""
        request = ingest_pb.ListJobsRequest(collection_id=COLLECTION, page_size=1000)
        return (await self._stub.ListJobs(request, timeout=60)).jobs

    async def until(self, ended: int) -> Sequence[ingest_pb.Job]:
        """Show how the jobs get on until so many have ended, and return them. Raises `DemoError`."""
        deadline = time.monotonic() + PATIENCE_S
        shown = ""
        while time.monotonic() < deadline:
            jobs = await self.jobs()
            states = Counter(ingest_pb.JobState.Name(job.state).removeprefix("JOB_STATE_") for job in jobs)
            line = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
            if line != shown:
                print(f"  {line}", flush=True)
                shown = line
            if sum(job.state in _FINAL for job in jobs) >= ended:
                return jobs
            await asyncio.sleep(_POLL_S)
        raise DemoError(f"the jobs did not end within {PATIENCE_S} s")


async def reconcile(channel: grpc.aio.Channel) -> admin_pb.ReconcileSummary:
    """Have the server compare its stores, without repairing anything."""
    stub = admin_grpc.AdminServiceStub(channel)
    summary = admin_pb.ReconcileSummary()
    async for response in stub.Reconcile(admin_pb.ReconcileRequest(dry_run=True), timeout=120):
        if response.WhichOneof("part") == "summary":
            summary = response.summary
    return summary


async def show(folder: Path, settings: Mapping[str, object], count: int) -> None:
    """Run the demo. Raises `DemoError`."""
    with processes(folder, settings) as (server, workers):
        async with grpc.aio.insecure_channel(server.address) as channel:
            collections = collection_grpc.CollectionServiceStub(channel)
            await collections.CreateCollection(
                collection_pb.CreateCollectionRequest(collection_id=COLLECTION), timeout=60
            )
            ingest = Ingest(channel)
            print(f"\n{count} documents are handed in", flush=True)
            await ingest.submit(count)
            await ingest.until(max(1, count // 4))
            workers[0].kill()
            print(f"worker 1 is killed (SIGKILL); its jobs are free after {LEASE_S} s", flush=True)
            jobs = await ingest.until(count)
            taken_over = [job.document_id for job in jobs if job.attempt_count > 1]
            print(f"\ntaken over from worker 1: {', '.join(sorted(taken_over)) or 'none, it had none'}")
            summary = await reconcile(channel)
    check(jobs, summary, count)


def check(jobs: Sequence[ingest_pb.Job], summary: admin_pb.ReconcileSummary, count: int) -> None:
    """Say what became of the documents. Raises `DemoError` unless each is there, once and whole."""
    succeeded = sum(job.state == ingest_pb.JOB_STATE_SUCCEEDED for job in jobs)
    expected_chunks = sum(job.progress.chunk_count for job in jobs)
    print(
        f"{succeeded} of {count} jobs succeeded; {summary.document_count} documents with "
        f"{summary.chunk_count} chunks compared in PostgreSQL and Milvus: {summary.finding_count} findings"
    )
    if succeeded != count or summary.document_count != count or summary.finding_count:
        raise DemoError("documents were lost, doubled or left over")
    if summary.chunk_count != expected_chunks:
        raise DemoError(f"the jobs made {expected_chunks} chunks")
    print("nothing was lost, nothing is there twice")


async def run(count: int) -> None:
    """Make what the demo needs, run it, and remove everything. Raises `DemoError`."""
    with tempfile.TemporaryDirectory(prefix="rag-demo-") as name:
        folder = Path(name)
        (folder / "store").mkdir()
        store = StoreProcess(folder / "store")
        try:
            async with own_database(POSTGRES_URL) as database_url, own_queues(AMQP_URL) as prefix:
                settings: dict[str, object] = {
                    "worker__port": 0,
                    "database__url": database_url,
                    "milvus__uri": store.uri,
                    "queue__url": AMQP_URL,
                    "queue__prefix": prefix,
                    "queue__poll_s": 0.5,
                    "ingest__lease_s": LEASE_S,
                }
                await show(folder / "data", settings, count)
        finally:
            store.kill()


def main() -> int:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=40, help="how many to ingest")
    try:
        asyncio.run(run(parser.parse_args().documents))
    except DemoError as error:
        print(f"demo-distributed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
