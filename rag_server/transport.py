"""The gRPC server: its limits, and how it stops."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import grpc

from rag_server.config import ServerSettings
from rag_server.errors import FailedPrecondition
from rag_server.interceptors.order import StandardChain

_FLUSH_S = 0.5


def address_of(host: str, port: int) -> str:
    """Return `host:port`, with the brackets that an IPv6 address needs."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def create_server(settings: ServerSettings, chain: StandardChain) -> tuple[grpc.aio.Server, int]:
    """Return a server that is not started yet, and the port it has taken.

    Raises `FailedPrecondition` (`ADDRESS_UNUSABLE`).
    """
    ping_interval_ms = round(settings.min_client_ping_interval_s * 1000)
    server = grpc.aio.server(
        interceptors=[chain],
        options=[
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            ("grpc.max_send_message_length", settings.max_message_bytes),
            ("grpc.max_metadata_size", settings.max_metadata_bytes),
            ("grpc.absolute_max_metadata_size", settings.max_metadata_bytes),
            ("grpc.keepalive_time_ms", round(settings.keepalive_time_s * 1000)),
            ("grpc.keepalive_timeout_ms", round(settings.keepalive_timeout_s * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", ping_interval_ms),
            ("grpc.so_reuseport", 0),  # else a second server on the port would take half of the calls
        ],
    )
    try:
        port = server.add_insecure_port(address_of(settings.host, settings.port))
    except RuntimeError as error:
        raise FailedPrecondition(
            "ADDRESS_UNUSABLE",
            f"cannot listen on {address_of(settings.host, settings.port)}: the port is taken, perhaps by "
            "another server, or the address is not one of this machine (RAG_SERVER__HOST, RAG_SERVER__PORT)",
        ) from error
    return server, port


async def drain(server: grpc.aio.Server, chain: StandardChain, grace_s: float) -> None:
    """Refuse new calls at once, let those in progress end for up to `grace_s`, then cut them off.

    Health watchers would hold the server for the whole time; they are cut off once our own calls are done.
    """
    stopping = asyncio.create_task(server.stop(grace_s))
    with suppress(TimeoutError):
        async with asyncio.timeout(grace_s):
            await chain.admission.idle()
    await server.stop(min(grace_s, _FLUSH_S))  # the time to send the last statuses
    await stopping
    chain.access_log.flush()
