"""Our side of the comparison: a server process that holds one collection in memory, asked over gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import psutil  # type: ignore[import-untyped]  # has no types of its own

from rag.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    chunk_pb2,
    options_pb2,
    retrieve_service_pb2,
    retrieve_service_pb2_grpc,
    retriever_pb2,
)
from rag_server.testing.server_process import ServerProcess

_QUIET_SHARE = 0.1
_QUIET_WITHIN_S = 900.0
_OPTIONS = options_pb2.RetrievalOptions(
    top_k=10,
    query_syntax=options_pb2.QUERY_SYNTAX_PLAIN,  # peers have no operators
)


class OurServer:
    """Searches one collection."""

    def __init__(self, server: ServerProcess, channel: grpc.aio.Channel, collection: str) -> None:
        self._process = psutil.Process(server.pid)
        self._retrieve = retrieve_service_pb2_grpc.RetrieveServiceStub(channel)
        self._admin = admin_service_pb2_grpc.AdminServiceStub(channel)
        self._collection = collection

    async def search(self, query: str) -> list[chunk_pb2.Chunk]:
        """Return ten passages, best first."""
        request = retrieve_service_pb2.RetrieveRequest(
            collection_ids=[self._collection], query=query, options=_OPTIONS
        )
        response = await self._retrieve.Retrieve(request)
        return [result.chunk for result in response.results]

    async def wait_until_ready(self) -> None:
        """Return once the collection is in memory and nothing is left to be done behind."""
        await self.search("ready?")
        deadline = time.monotonic() + _QUIET_WITHIN_S
        while time.monotonic() < deadline:
            before = self._busy_s()
            await asyncio.sleep(1)
            if self._busy_s() - before < _QUIET_SHARE and await self._is_in_memory():
                return
        raise SystemExit(f"{self._collection} was not brought into memory within {_QUIET_WITHIN_S:g} s")

    async def _is_in_memory(self) -> bool:
        info = await self._admin.GetServerInfo(admin_service_pb2.GetServerInfoRequest())
        states = {each.collection_id: each.state for each in info.retrievers}
        return states.get(self._collection) == retriever_pb2.RETRIEVER_STATE_SERVING

    def _busy_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


@asynccontextmanager
async def serving(data_dir: Path, collection: str) -> AsyncIterator[OurServer]:
    """Run a server over a data folder, with its default settings, for the length of the block."""
    server = ServerProcess(data_dir)
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            ours = OurServer(server, channel, collection)
            await ours.wait_until_ready()
            yield ours
        server.stop()
    except grpc.aio.AioRpcError as error:
        server.close()
        raise SystemExit(f"the server failed: {error.details()}\n{server.log[-4000:]}") from error
    finally:
        server.close()
