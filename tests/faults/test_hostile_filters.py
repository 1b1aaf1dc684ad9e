"""B4: filters that are too deep, too wide, or do not fit the collection, on every method that takes one."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.internal.encoder import _VarintBytes as varint

from rag.v1 import filter_pb2, metadata_pb2
from tests.faults.wire import Method, methods, send
from tests.rag_client import Failure, RagClient, failure_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

BY_NAME = {str(method): method for method in methods()}
TAKERS = ["Retrieve", "BatchRetrieve", "Generate", "StreamGenerate"]
OPTIONS_NUMBER = 3
"""Of `options` and of `retrieval`, the field of a request that holds the filter."""
FILTER_NUMBER = 2
PATHS = {
    "Retrieve": "options.filter",
    "BatchRetrieve": "requests[0].options.filter",
    "Generate": "retrieval.filter",
    "StreamGenerate": "retrieval.filter",
}
TEXT = metadata_pb2.MetadataValue(string_value="text")
NUMBER = metadata_pb2.MetadataValue(integer_value=1)


def nested(number: int, content: bytes) -> bytes:
    """Return a message field on the wire."""
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def exists(field: str = "source_uri") -> filter_pb2.Filter:
    return filter_pb2.Filter(exists=filter_pb2.ExistsFilter(field=field))


def deep(levels: int) -> bytes:
    """Return a filter of so many levels, put together without recursion."""
    found = exists().SerializeToString()
    for _ in range(levels - 1):
        found = nested(1, nested(1, found))
    return found


def filtered_by(filter_bytes: bytes) -> bytes:
    """Return the field of a request that holds the filter."""
    return nested(OPTIONS_NUMBER, nested(FILTER_NUMBER, filter_bytes))


async def refusal(client: RagClient, taker: str, collection: str, filter_bytes: bytes) -> Failure:
    """Search with the filter; return the error."""
    method: Method = BY_NAME[taker]
    request = nested(1, collection.encode()) + nested(2, b"question") + filtered_by(filter_bytes)
    is_batch = taker == "BatchRetrieve"
    error = await send(client.channel, method, nested(1, request) if is_batch else request)
    assert error is not None
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    return failure_of(error)


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("levels", [17, 30])
async def test_filter_over_16_levels_is_too_deep(
    client: RagClient, collection: str, taker: str, levels: int
) -> None:
    found = await refusal(client, taker, collection, deep(levels))

    assert found.reason == "FILTER_TOO_DEEP"
    assert list(found.violations) == [PATHS[taker]]


@pytest.mark.parametrize("taker", TAKERS)
async def test_filter_of_5_000_levels_is_not_decoded(client: RagClient, collection: str, taker: str) -> None:
    found = await refusal(client, taker, collection, deep(5_000))

    assert found.reason == "UNDECODABLE_REQUEST"
    assert "16 levels" in found.message


@pytest.mark.parametrize("taker", TAKERS)
async def test_filter_of_16_levels_is_taken(client: RagClient, collection: str, taker: str) -> None:
    method = BY_NAME[taker]
    request = nested(1, collection.encode()) + nested(2, b"question") + filtered_by(deep(16))

    assert (
        await send(client.channel, method, nested(1, request) if taker == "BatchRetrieve" else request)
        is None
    )


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("kind", ["must", "should", "must_not", "membership"])
async def test_filter_of_10_000_nodes_is_too_large(
    client: RagClient, collection: str, taker: str, kind: str
) -> None:
    if kind == "membership":
        wide = filter_pb2.Filter(
            membership=filter_pb2.MembershipFilter(field="source_uri", values=[TEXT] * 10_000)
        )
    else:
        wide = filter_pb2.Filter(boolean=filter_pb2.BooleanFilter(**{kind: [exists()] * 10_000}))

    found = await refusal(client, taker, collection, wide.SerializeToString())

    assert found.reason == "FILTER_TOO_LARGE"
    assert list(found.violations) == [PATHS[taker]]


@pytest.mark.parametrize("taker", TAKERS)
async def test_unknown_field_is_named_with_its_path(client: RagClient, collection: str, taker: str) -> None:
    inner = filter_pb2.Filter(boolean=filter_pb2.BooleanFilter(must=[exists(), exists("metadata.nothing")]))

    found = await refusal(client, taker, collection, inner.SerializeToString())

    assert found.reason == "UNKNOWN_FILTER_FIELD"
    assert found.metadata["field"] == "metadata.nothing"
    assert list(found.violations) == [PATHS[taker] + ".boolean.must[1].exists.field"]


MISMATCHES: dict[str, tuple[Any, str]] = {
    "number asked of a text": (
        filter_pb2.Filter(
            comparison=filter_pb2.ComparisonFilter(
                field="source_uri", operator=filter_pb2.COMPARISON_OPERATOR_EQUAL, value=NUMBER
            )
        ),
        "comparison.value",
    ),
    "text asked of a number": (
        filter_pb2.Filter(
            membership=filter_pb2.MembershipFilter(field="metadata.year", values=[NUMBER, TEXT])
        ),
        "membership.values[1]",
    ),
    "range of a text": (
        filter_pb2.Filter(range=filter_pb2.RangeFilter(field="source_uri", less_than=NUMBER)),
        "range.field",
    ),
    "prefix of a number": (
        filter_pb2.Filter(prefix=filter_pb2.PrefixFilter(field="metadata.year", prefix="1")),
        "prefix.field",
    ),
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("kind", MISMATCHES)
async def test_value_of_another_type_is_named_with_its_path(
    client: RagClient, collection: str, taker: str, kind: str
) -> None:
    await client.ingest_text(collection, "A year.", "dated", metadata={"year": NUMBER})
    condition, path = MISMATCHES[kind]

    found = await refusal(client, taker, collection, condition.SerializeToString())

    assert found.reason == "FILTER_TYPE_MISMATCH"
    assert list(found.violations) == [f"{PATHS[taker]}.{path}"]
