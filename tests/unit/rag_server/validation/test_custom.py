from __future__ import annotations

from typing import Any

import pytest

from rag.v1 import (
    chunking_pb2,
    collection_service_pb2,
    filter_pb2,
    ingest_service_pb2,
    metadata_pb2,
    retrieve_service_pb2,
)
from rag_server.errors import FieldViolation
from rag_server.validation import validate
from rag_server.validation.custom import UPDATABLE_FIELDS

NUMBER = metadata_pb2.MetadataValue(integer_value=1)
UNORDERED = [
    metadata_pb2.MetadataValue(string_value="x"),
    metadata_pb2.MetadataValue(boolean_value=True),
    metadata_pb2.MetadataValue(string_list_value=metadata_pb2.StringList(values=["x"])),
]
ORDERED = [
    NUMBER,
    metadata_pb2.MetadataValue(double_value=0.5),
    metadata_pb2.MetadataValue(timestamp_value={"seconds": 1}),  # type: ignore[arg-type]  # taken too
]
BOUNDS = ["greater_than", "greater_or_equal", "less_than", "less_or_equal"]


def paths(message: Any) -> list[str]:
    return [violation.field for violation in validate(message)]


def test_chunking_of_an_unknown_strategy_is_refused() -> None:
    chunking = chunking_pb2.Chunking()
    # field 15, as a client of a later contract would send it
    chunking.MergeFromString(b"\x7a\x00")
    (violation,) = validate(chunking)
    assert violation == FieldViolation("strategy", "is not one that this server knows: tokens, characters")


def test_chunking_without_a_strategy_passes() -> None:
    assert validate(chunking_pb2.Chunking()) == []


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"max_characters": 800},
        {"max_characters": 101, "overlap_characters": 50},
        {"overlap_characters": 1000},
    ],
)
def test_overlap_of_at_most_half_passes(fields: dict[str, int]) -> None:
    assert paths(chunking_pb2.CharacterChunking(**fields)) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"max_characters": 799},
        {"max_characters": 101, "overlap_characters": 51},
        {"overlap_characters": 1001},
    ],
)
def test_overlap_of_more_than_half_is_refused(fields: dict[str, int]) -> None:
    assert paths(chunking_pb2.CharacterChunking(**fields)) == ["overlap_characters"]


def test_labels_of_greatest_length_pass() -> None:
    assert validate(collection_service_pb2.Collection(labels={"ñ" * 128: "ñ" * 128})) == []


def test_labels_with_long_key_or_value_are_refused() -> None:
    long_key = collection_service_pb2.Collection(labels={"ñ" * 129: "x"})
    long_value = collection_service_pb2.Collection(labels={"team": "x" * 129})

    assert len(validate(long_key)) == 1
    assert "the key has 129 code points" in validate(long_key)[0].description
    assert validate(long_value) == [
        FieldViolation("labels.team", "the value has 129 code points, the maximum is 128")
    ]


def test_metadata_fields_of_the_same_name_are_refused() -> None:
    collection = collection_service_pb2.Collection()
    for name in ("price", "year", "price", "price"):
        collection.metadata_fields.add(name=name, type=metadata_pb2.METADATA_TYPE_DOUBLE)

    assert paths(collection) == ["metadata_fields[2].name", "metadata_fields[3].name"]


def update(*mask: str) -> collection_service_pb2.UpdateCollectionRequest:
    request = collection_service_pb2.UpdateCollectionRequest(collection_id="docs")
    request.collection.SetInParent()
    request.update_mask.SetInParent()
    request.update_mask.paths.extend(mask)
    return request


def test_update_mask_of_every_updatable_field_passes() -> None:
    assert validate(update(*UPDATABLE_FIELDS)) == []


def test_update_mask_names_fields_of_the_collection() -> None:
    assert set(UPDATABLE_FIELDS) <= set(collection_service_pb2.Collection.DESCRIPTOR.fields_by_name)


def test_update_mask_without_a_field_is_refused() -> None:
    assert validate(update()) == [FieldViolation("update_mask", "names no field")]


@pytest.mark.parametrize(
    "path", ["id", "language", "bm25", "revision", "*", "", "chunking.tokens", "labels "]
)
def test_update_mask_of_another_field_is_refused(path: str) -> None:
    assert paths(update("labels", path)) == ["update_mask.paths[1]"]


def test_boolean_without_conditions_is_refused() -> None:
    request = retrieve_service_pb2.RetrieveRequest(collection_ids=["docs"], query="x")
    request.options.filter.boolean.SetInParent()

    assert validate(request) == [
        FieldViolation("options.filter.boolean", "must, should and must_not are all empty")
    ]


@pytest.mark.parametrize("branch", ["must", "should", "must_not"])
def test_boolean_with_any_condition_passes(branch: str) -> None:
    condition = filter_pb2.Filter(exists=filter_pb2.ExistsFilter(field="media_type"))
    message = filter_pb2.BooleanFilter()
    getattr(message, branch).append(condition)

    assert validate(message) == []


@pytest.mark.parametrize("operator", range(3, 7))
@pytest.mark.parametrize("value", UNORDERED)
def test_ordering_of_an_unordered_value_is_refused(operator: Any, value: Any) -> None:
    comparison = filter_pb2.ComparisonFilter(field="metadata.a", operator=operator, value=value)

    assert paths(comparison) == ["value"]


@pytest.mark.parametrize("operator", range(3, 7))
@pytest.mark.parametrize("value", ORDERED)
def test_ordering_of_an_ordered_value_passes(operator: Any, value: Any) -> None:
    assert validate(filter_pb2.ComparisonFilter(field="metadata.a", operator=operator, value=value)) == []


@pytest.mark.parametrize("operator", [1, 2])
@pytest.mark.parametrize("value", UNORDERED + ORDERED)
def test_equality_of_any_value_passes(operator: Any, value: Any) -> None:
    assert validate(filter_pb2.ComparisonFilter(field="metadata.a", operator=operator, value=value)) == []


def test_ordering_of_a_value_without_kind_is_one_violation() -> None:
    comparison = filter_pb2.ComparisonFilter(
        field="metadata.a",
        operator=filter_pb2.COMPARISON_OPERATOR_LESS,
        value=metadata_pb2.MetadataValue(),
    )

    assert paths(comparison) == ["value.kind"]


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("value", ORDERED)
def test_range_with_one_bound_passes(bound: str, value: Any) -> None:
    message = filter_pb2.RangeFilter(field="metadata.a")
    getattr(message, bound).CopyFrom(value)

    assert validate(message) == []


@pytest.mark.parametrize("lower", BOUNDS[:2])
@pytest.mark.parametrize("upper", BOUNDS[2:])
def test_range_with_a_lower_and_an_upper_bound_passes(lower: str, upper: str) -> None:
    message = filter_pb2.RangeFilter(field="metadata.a")
    getattr(message, lower).CopyFrom(NUMBER)
    getattr(message, upper).CopyFrom(NUMBER)

    assert validate(message) == []


def test_range_without_a_bound_is_refused() -> None:
    assert validate(filter_pb2.RangeFilter(field="metadata.a")) == [
        FieldViolation("", "at least one bound is required")
    ]


@pytest.mark.parametrize("pair", [BOUNDS[:2], BOUNDS[2:]])
def test_range_with_both_bounds_of_a_pair_is_refused(pair: list[str]) -> None:
    message = filter_pb2.RangeFilter(field="metadata.a")
    for bound in pair:
        getattr(message, bound).CopyFrom(NUMBER)

    assert validate(message) == [FieldViolation(pair[1], f"cannot be set together with {pair[0]}")]


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("value", UNORDERED)
def test_range_with_an_unordered_bound_is_refused(bound: str, value: Any) -> None:
    message = filter_pb2.RangeFilter(field="metadata.a")
    getattr(message, bound).CopyFrom(value)

    assert paths(message) == [bound]


@pytest.mark.parametrize("key", ["price", "_", "A9_", "x" * 64])
def test_metadata_key_that_is_a_name_passes(key: str) -> None:
    assert validate(ingest_service_pb2.DocumentSpec(metadata={key: NUMBER})) == []


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("", 'metadata[""]'),
        ("9", 'metadata["9"]'),
        ("a.b", 'metadata["a.b"]'),
        ("a\n", 'metadata["a\\n"]'),
        ("año", 'metadata["a\\u00f1o"]'),
        ("x" * 65, "metadata." + "x" * 65),
    ],
)
def test_metadata_key_that_is_no_name_is_refused(key: str, path: str) -> None:
    assert paths(ingest_service_pb2.DocumentSpec(metadata={key: NUMBER})) == [path]


@pytest.mark.parametrize("text", ["a\x01", "\x1f", "a\x0bb"])
def test_metadata_text_with_a_control_character_is_refused_where_it_stands(text: str) -> None:
    spec = ingest_service_pb2.DocumentSpec(
        metadata={
            "name": metadata_pb2.MetadataValue(string_value=text),
            "tags": metadata_pb2.MetadataValue(
                string_list_value=metadata_pb2.StringList(values=["fine", text])
            ),
        }
    )
    expected = {"metadata.name.string_value", "metadata.tags.string_list_value.values[1]"}
    assert set(paths(spec)) == expected


def test_metadata_text_with_white_space_is_accepted() -> None:
    value = metadata_pb2.MetadataValue(string_value="a\tb\nc\rd é")
    assert validate(ingest_service_pb2.DocumentSpec(metadata={"name": value})) == []


@pytest.mark.parametrize(("extra", "expected"), [(0, []), (1, ["metadata"])])
def test_metadata_is_bounded_in_bytes(extra: int, expected: list[str]) -> None:
    texts = {f"field{number}": "x" * 4000 for number in range(4)}
    values = {name: metadata_pb2.MetadataValue(string_value=text) for name, text in texts.items()}
    size = sum(len(name) + value.ByteSize() for name, value in values.items())
    values["rest"] = metadata_pb2.MetadataValue(string_value="x" * (16_384 - size - len("rest") - 3 + extra))
    assert paths(ingest_service_pb2.DocumentSpec(metadata=values)) == expected
