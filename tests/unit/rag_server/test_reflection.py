from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2 as pb

from rag_server.health import NEEDS
from rag_server.reflection import V1, V1ALPHA, add_reflection

VERSIONS = [V1, V1ALPHA]


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server()
    add_reflection(server, list(NEEDS))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


async def ask(channel: grpc.aio.Channel, version: str, **question: Any) -> pb.ServerReflectionResponse:
    method = channel.stream_stream(
        f"/{version}/ServerReflectionInfo",
        request_serializer=pb.ServerReflectionRequest.SerializeToString,
        response_deserializer=pb.ServerReflectionResponse.FromString,
    )
    (answer,) = [each async for each in method(iter([pb.ServerReflectionRequest(**question)]))]
    assert isinstance(answer, pb.ServerReflectionResponse)
    return answer


@pytest.mark.parametrize("version", VERSIONS)
async def test_reflection_lists_our_services_and_itself(channel: grpc.aio.Channel, version: str) -> None:
    answer = await ask(channel, version, list_services="")
    names = {service.name for service in answer.list_services_response.service}
    assert names == {*NEEDS, V1, V1ALPHA}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("service", NEEDS)
async def test_reflection_describes_each_service(
    channel: grpc.aio.Channel, version: str, service: str
) -> None:
    answer = await ask(channel, version, file_containing_symbol=service)
    files = [
        FileDescriptorProto.FromString(each) for each in answer.file_descriptor_response.file_descriptor_proto
    ]
    assert service in {f"{file.package}.{each.name}" for file in files for each in file.service}


@pytest.mark.parametrize("version", VERSIONS)
async def test_reflection_unknown_symbol_is_not_found(channel: grpc.aio.Channel, version: str) -> None:
    answer = await ask(channel, version, file_containing_symbol="rag.v1.NoService")
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
