"""Calls below the stubs: any bytes to any method of the contract."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import rag.v1


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the contract, as its descriptor has it."""

    path: str
    """`/rag.v1.RetrieveService/Retrieve`."""
    request: Descriptor
    takes_stream: bool
    gives_stream: bool

    def __str__(self) -> str:
        return self.path.rpartition("/")[2]

    def new_request(self) -> Message:
        """Return an empty request."""
        return GetMessageClass(self.request)()


def methods() -> list[Method]:
    """Return all methods of `rag.v1`, from the descriptors of its services."""
    found = []
    for module in pkgutil.iter_modules(rag.v1.__path__, "rag.v1."):
        if not module.name.endswith("_service_pb2"):
            continue
        for service in importlib.import_module(module.name).DESCRIPTOR.services_by_name.values():
            found += [
                Method(
                    f"/{service.full_name}/{each.name}",
                    each.input_type,
                    each.client_streaming,
                    each.server_streaming,
                )
                for each in service.methods
            ]
    assert found
    return found


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def send(
    channel: grpc.aio.Channel, method: Method, data: bytes, *, timeout_s: float = 30.0
) -> grpc.aio.AioRpcError | None:
    """Send `data` as the request message; return the error of the call, or None."""
    try:
        if method.takes_stream and method.gives_stream:
            async for _ in channel.stream_stream(method.path)(_one(data), timeout=timeout_s):
                pass
        elif method.takes_stream:
            await channel.stream_unary(method.path)(_one(data), timeout=timeout_s)
        elif method.gives_stream:
            async for _ in channel.unary_stream(method.path)(data, timeout=timeout_s):
                pass
        else:
            await channel.unary_unary(method.path)(data, timeout=timeout_s)
    except grpc.aio.AioRpcError as error:
        return error
    return None
