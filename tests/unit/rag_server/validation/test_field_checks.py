"""What holds in every message alike, tried through requests of the contract."""

from __future__ import annotations

import math

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from rag.v1 import (
    collection_service_pb2,
    filter_pb2,
    ingest_service_pb2,
    metadata_pb2,
    retrieve_service_pb2,
)
from rag_server.errors import FieldViolation
from rag_server.validation import validate
from rag_server.validation.field_checks import timestamp_problem


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_float_that_is_not_finite_is_refused(number: float) -> None:
    value = metadata_pb2.MetadataValue(double_value=number)

    assert validate(value) == [FieldViolation("double_value", "must be a finite number")]


@pytest.mark.parametrize("number", [0.0, -0.0, 1.7976931348623157e308, 5e-324])
def test_float_that_is_finite_passes(number: float) -> None:
    assert validate(metadata_pb2.MetadataValue(double_value=number)) == []


@pytest.mark.parametrize("number", [99, -1])
def test_enum_of_unknown_number_is_refused(number: int) -> None:
    field = metadata_pb2.MetadataField(name="price")
    field.type = number  # type: ignore[assignment]  # what an unknown client may send

    assert validate(field) == [FieldViolation("type", f"{number} is not a value that can be given")]


@pytest.mark.parametrize("number", [0, 99])
def test_enum_in_a_list_unspecified_or_unknown_is_refused(number: int) -> None:
    request = ingest_service_pb2.ListJobsRequest.FromString(bytes([0x1A, 2, 1, number]))

    assert [violation.field for violation in validate(request)] == ["states[1]"]


@pytest.mark.parametrize("query", ["\0", "a\0b", "ab\0"])
def test_string_with_nul_is_refused(query: str) -> None:
    request = retrieve_service_pb2.RetrieveRequest(collection_ids=["docs"], query=query)

    assert validate(request) == [FieldViolation("query", "must not hold U+0000")]


def test_string_with_other_control_characters_passes() -> None:
    request = retrieve_service_pb2.RetrieveRequest(collection_ids=["docs"], query="a\n\t\x01\x7f\u2028")

    assert validate(request) == []


def test_string_in_a_list_with_nul_is_refused() -> None:
    request = retrieve_service_pb2.EmbedRequest(texts=["a", "\0"])

    assert [violation.field for violation in validate(request)] == ["texts[1]"]


def test_string_in_a_well_known_type_with_nul_is_refused() -> None:
    request = collection_service_pb2.UpdateCollectionRequest(collection_id="docs")
    request.collection.SetInParent()
    request.update_mask.paths.append("labels\0")

    fields = {violation.field for violation in validate(request)}

    assert fields == {"update_mask.paths[0]"}


def test_map_key_and_value_with_nul_are_refused() -> None:
    collection = collection_service_pb2.Collection(labels={"a\0": "b", "c": "\0"})

    fields = {violation.field for violation in validate(collection)}

    assert fields == {'labels["a\\u0000"]', "labels.c"}


def test_document_text_with_nul_passes() -> None:
    request = ingest_service_pb2.IngestDocumentRequest(collection_id="docs", text="a\0b")

    assert validate(request) == []


def test_bytes_with_nul_pass() -> None:
    request = ingest_service_pb2.IngestDocumentRequest(collection_id="docs", data=b"\0")

    assert validate(request) == []


def test_empty_string_with_a_pattern_is_absent() -> None:
    request = collection_service_pb2.DeleteCollectionRequest(collection_id="docs", request_id="")

    assert validate(request) == []


def test_length_counts_code_points() -> None:
    assert validate(filter_pb2.ExistsFilter(field="𝔸" * 128)) == []
    assert validate(filter_pb2.ExistsFilter(field="𝔸" * 129)) == [
        FieldViolation("field", "has 129 code points, must have 1 to 128")
    ]


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(-62_135_596_800, 0), (253_402_300_799, 999_999_999), (0, 0), (-1, 999_999_999)],
)
def test_timestamp_in_range_passes(seconds: int, nanos: int) -> None:
    stamp = Timestamp(seconds=seconds, nanos=nanos)

    assert timestamp_problem(stamp) is None
    assert validate(metadata_pb2.MetadataValue(timestamp_value=stamp)) == []


@pytest.mark.parametrize(
    ("seconds", "nanos", "description"),
    [
        (-62_135_596_801, 0, "must lie in the years 1 to 9999"),
        (253_402_300_800, 0, "must lie in the years 1 to 9999"),
        (0, -1, "nanos must be from 0 to 999999999"),
        (0, 1_000_000_000, "nanos must be from 0 to 999999999"),
    ],
)
def test_timestamp_out_of_range_is_refused(seconds: int, nanos: int, description: str) -> None:
    value = metadata_pb2.MetadataValue(timestamp_value=Timestamp(seconds=seconds, nanos=nanos))

    assert validate(value) == [FieldViolation("timestamp_value", description)]
