from __future__ import annotations

import asyncio
import socket
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from rag.v1.ingest_service_pb2 import GetJobRequest, GetJobResponse
from rag_server.config import ServerSettings
from rag_server.errors import FailedPrecondition
from rag_server.interceptors.order import StandardChain
from rag_server.transport import create_server, drain

METHOD = "/rag.v1.TestService/Wait"


class Gate:
    """A method that waits until it is opened."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.is_open = asyncio.Event()

    async def wait(self, request: Any, context: Any) -> GetJobResponse:
        self.entered.set()
        await self.is_open.wait()
        return GetJobResponse()


def made(gate: Gate) -> tuple[grpc.aio.Server, StandardChain, int]:
    settings = ServerSettings(port=0)
    chain = StandardChain(settings, CollectorRegistry())
    server, port = create_server(settings, chain)
    handler = grpc.unary_unary_rpc_method_handler(
        gate.wait,
        request_deserializer=GetJobRequest.FromString,
        response_serializer=GetJobResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("rag.v1.TestService", {"Wait": handler}),)
    )
    return server, chain, port


def ask(channel: grpc.aio.Channel) -> Any:
    method = channel.unary_unary(
        METHOD,
        request_serializer=GetJobRequest.SerializeToString,
        response_deserializer=GetJobResponse.FromString,
    )
    return method(GetJobRequest(job_id="a"))


async def test_create_server_on_a_port_that_is_taken_says_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = ServerSettings(port=taken.getsockname()[1])
        with pytest.raises(FailedPrecondition, match="RAG_SERVER__PORT") as caught:
            create_server(settings, StandardChain(settings, CollectorRegistry()))
    assert caught.value.reason == "ADDRESS_UNUSABLE"


async def test_drain_lets_a_running_call_end_and_refuses_new_ones() -> None:
    gate = Gate()
    server, chain, port = made(gate)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        running = ask(channel)
        await gate.entered.wait()
        draining = asyncio.create_task(drain(server, chain, 30.0))
        await asyncio.sleep(0)
        gate.is_open.set()
        await running
        await draining
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_drain_cuts_off_a_call_that_takes_longer_than_the_grace() -> None:
    gate = Gate()
    server, chain, port = made(gate)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        running = ask(channel)
        await gate.entered.wait()
        await drain(server, chain, 0.05)
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await running
