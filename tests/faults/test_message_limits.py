"""B1: a message over the limit, plain or inflated from a small one, is refused; the server lives."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import psutil
import pytest
import pytest_asyncio

from rag.v1 import admin_service_pb2 as admin_pb
from rag.v1 import ingest_service_pb2 as ingest_pb
from rag.v1 import ingest_service_pb2_grpc as ingest_grpc
from rag_server.testing.server_process import ServerStarter
from tests.rag_client import RagClient, ServerUnderTest

pytestmark = pytest.mark.asyncio(loop_scope="session")

MEBIBYTE = 1024 * 1024


@pytest_asyncio.fixture(loop_scope="session")
async def unbounded_channel(server: ServerUnderTest) -> AsyncIterator[grpc.aio.Channel]:
    options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(server.running.address, options=options) as channel:
        yield channel


async def code_of(channel: grpc.aio.Channel, text: str, compression: grpc.Compression) -> grpc.StatusCode:
    request = ingest_pb.IngestDocumentRequest(collection_id="any", text=text)
    stub = ingest_grpc.IngestServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.IngestDocument(request, compression=compression)
    return caught.value.code()


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_message_over_limit_is_refused_and_server_lives(
    server: ServerUnderTest,
    client: RagClient,
    unbounded_channel: grpc.aio.Channel,
    compression: grpc.Compression,
) -> None:
    limit = server.settings.server.max_message_bytes

    code = await code_of(unbounded_channel, "\0" * (limit + MEBIBYTE), compression)

    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await client.admin.GetServerInfo(admin_pb.GetServerInfoRequest(), timeout=30)


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_message_within_limit_reaches_the_service(
    unbounded_channel: grpc.aio.Channel, compression: grpc.Compression
) -> None:
    code = await code_of(unbounded_channel, "a" * MEBIBYTE, compression)

    assert code is grpc.StatusCode.NOT_FOUND


async def test_gzip_bombs_in_a_row_do_not_fill_the_memory(start_server: ServerStarter) -> None:
    process = start_server(server__max_message_bytes=MEBIBYTE)
    options = [("grpc.max_send_message_length", -1)]
    bomb = "\0" * (64 * MEBIBYTE)
    async with grpc.aio.insecure_channel(process.address, options=options) as channel:
        before = psutil.Process(process.pid).memory_info().rss
        codes = {await code_of(channel, bomb, grpc.Compression.Gzip) for _ in range(4)}
        after = psutil.Process(process.pid).memory_info().rss

    assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert after - before < 3 * len(bomb)
    assert process.stop() == 0
