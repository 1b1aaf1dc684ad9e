"""B2: random bytes, bad UTF-8 and huge metadata to every method; the server lives."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from grpc_health.v1 import health_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.v1 import admin_service_pb2 as admin_pb
from rag.v1 import collection_service_pb2 as collection_pb
from rag.v1 import filter_pb2, options_pb2
from rag.v1 import retrieve_service_pb2 as retrieve_pb
from tests.faults.wire import Method, methods, send
from tests.rag_client import RagClient, ServerUnderTest, failure_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

METHODS = methods()
REFUSED = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.NOT_FOUND}
UNDECODABLE = {
    "varint without an end": b"\xff" * 11,
    "length past the end": b"\x0a\x7fabc",
    "group that never closes": b"\x0b",
}
QUESTION = retrieve_pb.RetrieveRequest(
    collection_ids=["none"],
    query="question",
    options=options_pb2.RetrievalOptions(
        top_k=5,
        filter=filter_pb2.Filter(exists=filter_pb2.ExistsFilter(field="source_uri")),
        candidate_count=50,
    ),
).SerializeToString()
"""A request for Retrieve and, since the fields have the same numbers, for StreamGenerate."""


def string_fields(method: Method) -> list[FieldDescriptor]:
    return [field for field in method.request.fields if field.type == FieldDescriptor.TYPE_STRING]


async def assert_lives(client: RagClient) -> None:
    request = health_pb2.HealthCheckRequest()
    assert (await client.health.Check(request)).status == health_pb2.HealthCheckResponse.SERVING
    assert (await client.admin.GetServerInfo(admin_pb.GetServerInfoRequest())).version


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("kind", UNDECODABLE)
async def test_undecodable_bytes_are_an_invalid_argument(
    client: RagClient, method: Method, kind: str
) -> None:
    error = await send(client.channel, method, UNDECODABLE[kind])

    assert error is not None
    found = failure_of(error)
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "UNDECODABLE_REQUEST")
    assert found.domain == "rag-server"


@pytest.mark.parametrize("method", [each for each in METHODS if string_fields(each)], ids=str)
async def test_bad_utf8_is_an_invalid_argument(client: RagClient, method: Method) -> None:
    for field in string_fields(method):
        tag = field.number << 3 | 2
        error = await send(client.channel, method, bytes([tag, 3]) + b"a\xff\xfe")

        assert error is not None
        assert failure_of(error).reason == "UNDECODABLE_REQUEST", field.name


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(method=st.sampled_from(METHODS), data=st.binary(max_size=200))
async def test_random_bytes_are_refused_or_answered(
    server: ServerUnderTest, method: Method, data: bytes
) -> None:
    error = await send(server.client.channel, method, data)

    if error is not None:
        assert error.code() in REFUSED, (error.code(), error.details())
        assert failure_of(error).reason


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from([each for each in METHODS if str(each) in {"Retrieve", "StreamGenerate"}]),
    damage=st.lists(
        st.tuples(st.integers(0, len(QUESTION) - 1), st.integers(0, 255)), min_size=1, max_size=4
    ),
)
async def test_damaged_request_is_refused(
    server: ServerUnderTest, method: Method, damage: list[tuple[int, int]]
) -> None:
    damaged = bytearray(QUESTION)
    for place, value in damage:
        damaged[place] = value

    error = await send(server.client.channel, method, bytes(damaged))

    assert error is not None  # the collection does not exist
    assert error.code() in REFUSED, (error.code(), error.details())


@pytest.mark.parametrize("size", [20_000, 1_000_000])
async def test_huge_metadata_is_refused_and_server_lives(client: RagClient, size: int) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.collections.ListCollections(
            collection_pb.ListCollectionsRequest(), metadata=[("x-huge", "a" * size)], timeout=30
        )

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await assert_lives(client)


async def test_bytes_to_health_and_reflection_leave_the_server_alive(client: RagClient) -> None:
    for path in ("/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Nothing", "/rag.v1.Nothing/Nothing"):
        with pytest.raises(grpc.aio.AioRpcError):
            await client.channel.unary_unary(path)(b"\x0a\x7fabc", timeout=30)

    await assert_lives(client)
