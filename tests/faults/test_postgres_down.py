"""F8: PostgreSQL is restarted, and its backends are killed inside transactions, under a running server."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
import pytest_asyncio

from rag.v1 import collection_service_pb2 as collection_pb
from rag.v1 import ingest_service_pb2 as ingest_pb
from rag.v1 import metadata_pb2
from rag_server.app import Parts, running_server
from rag_server.testing.orphans import assert_no_orphans
from rag_server.testing.postgres_server import PostgresServer
from tests.conftest import make_settings
from tests.faults.private_postgres import private_postgres
from tests.rag_client import RagClient, failure_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

RECOVERY_S = 10.0
FIELDS = [
    metadata_pb2.MetadataField(name="author", type=metadata_pb2.METADATA_TYPE_STRING),
    metadata_pb2.MetadataField(name="year", type=metadata_pb2.METADATA_TYPE_INTEGER),
]


@dataclass
class Site:
    """A server, and the PostgreSQL that it keeps its metadata in."""

    postgres: PostgresServer
    client: RagClient
    parts: Parts

    async def assert_no_orphans(self, collection_id: str) -> None:
        """F16: the stores agree on a collection."""
        parts = self.parts
        await assert_no_orphans(parts.database, parts.chunks, parts.blobs, collection_id=collection_id)

    async def execute(self, statement: str) -> None:
        connection = await asyncpg.connect(f"{self.postgres.url}/postgres?sslmode=disable")
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def recovered_after_s(self) -> float:
        """Wait until a change is taken again; return how long that took."""
        begin = time.monotonic()
        async with asyncio.timeout(60):
            while True:
                try:
                    await self.client.create_collection(f"probe-{uuid.uuid4().hex[:12]}")
                except grpc.aio.AioRpcError as error:
                    assert_says_come_back(error)
                    await asyncio.sleep(0.05)
                else:
                    return time.monotonic() - begin

    async def collections(self) -> dict[str, collection_pb.Collection]:
        request = collection_pb.ListCollectionsRequest(page_size=1000)
        response = await self.client.collections.ListCollections(request)
        return {each.id: each for each in response.collections}


def assert_says_come_back(error: grpc.aio.AioRpcError) -> None:
    found = failure_of(error)
    assert (found.code, found.reason) == (grpc.StatusCode.UNAVAILABLE, "METADATA_STORE_UNAVAILABLE")
    assert found.retry_after_s is not None
    assert 0 < found.retry_after_s <= RECOVERY_S


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with private_postgres() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder: Path = tmp_path_factory.mktemp("site")
    settings = make_settings(
        folder,
        server={"health_interval_s": 3600.0},
        database={"url": f"{postgres.url}/postgres?sslmode=disable", "connect_timeout_s": 2.0},
        ingest={"retry_backoff_s": 0.1, "max_attempts": 50, "embedding_batch_chunks": 4},
    )
    async with running_server(settings) as running, RagClient(running.address) as client:
        yield Site(postgres, client, running.parts)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_restart_is_unavailable_while_it_lasts_and_over_within_ten_seconds(
    site: Site, mode: str
) -> None:
    name = f"restart-{mode}"
    await site.client.create_collection(name)
    await site.client.ingest_text(name, "grey heron", "before")
    text = "\n\n".join(f"Paragraph {number} of a white crane." * 8 for number in range(40))
    jobs = [await site.client.submit(name, text, f"during-{number}") for number in range(3)]

    await asyncio.to_thread(site.postgres.stop, mode)
    for call in (
        site.client.create_collection("not-now"),
        site.client.submit(name, "too early", "not-now"),
        site.collections(),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert_says_come_back(caught.value)
    await asyncio.to_thread(site.postgres.start)

    assert await site.recovered_after_s() < RECOVERY_S
    assert "not-now" not in await site.collections()
    await site.client.ingest_text(name, "purple heron", "after")
    ended = [await site.client.end_of(job.id) for job in jobs]
    assert {job.state for job in ended} == {ingest_pb.JOB_STATE_SUCCEEDED}
    shown = (await site.collections())[name]
    assert shown.document_count == len(jobs) + 2
    found = await site.client.search(name, "heron", top_k=50)
    assert {each.chunk.document_id for each in found.results} >= {"before", "after"}
    await site.assert_no_orphans(name)


async def test_backends_killed_under_load_leave_no_part_of_a_change(site: Site) -> None:
    accepted: set[str] = set()
    refused: set[str] = set()
    is_over = asyncio.Event()

    async def change() -> None:
        while not is_over.is_set():
            name = f"load-{uuid.uuid4().hex[:12]}"
            try:
                await site.client.create_collection(name, metadata_fields=FIELDS)
                await site.client.submit(name, "a heron", "doc")
                accepted.add(name)
            except grpc.aio.AioRpcError as error:
                assert_says_come_back(error)
                refused.add(name)

    async def kill() -> None:
        for _ in range(15):
            await site.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rag-server'"
            )
            await asyncio.sleep(0.1)
        is_over.set()

    async with asyncio.timeout(120):
        await asyncio.gather(kill(), *(change() for _ in range(4)))
    assert accepted
    assert refused
    assert await site.recovered_after_s() < RECOVERY_S
    found = await site.collections()
    assert accepted <= found.keys()
    for name in accepted | refused:
        if name in found:  # of a refused one the answer may have been lost: then all of it is there
            assert list(found[name].metadata_fields) == FIELDS
    for name in accepted:
        request: Any = ingest_pb.ListJobsRequest(collection_id=name)
        (job,) = (await site.client.ingest.ListJobs(request)).jobs
        assert (await site.client.end_of(job.id)).state == ingest_pb.JOB_STATE_SUCCEEDED
        await site.assert_no_orphans(name)
