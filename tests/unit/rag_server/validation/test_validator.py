from __future__ import annotations

import pytest

from rag.v1 import collection_service_pb2, filter_pb2, ingest_service_pb2, options_pb2, retrieve_service_pb2
from rag_server.errors import FieldViolation, InvalidArgument
from rag_server.validation import check, validate
from rag_server.validation.report import MAX_VIOLATIONS


def retrieve_request() -> retrieve_service_pb2.RetrieveRequest:
    return retrieve_service_pb2.RetrieveRequest(collection_ids=["docs"], query="what is it")


def paths(message: object) -> list[str]:
    return [violation.field for violation in validate(message)]  # type: ignore[arg-type]  # any message


def deep_filter(levels: int) -> filter_pb2.Filter:
    node = filter_pb2.Filter(exists=filter_pb2.ExistsFilter(field="media_type"))
    for _ in range(levels - 1):
        node = filter_pb2.Filter(boolean=filter_pb2.BooleanFilter(must=[node]))
    return node


def test_check_valid_request_passes() -> None:
    check(retrieve_request())


def test_check_wrong_request_raises_with_every_violation() -> None:
    with pytest.raises(InvalidArgument) as caught:
        check(retrieve_service_pb2.RetrieveRequest(options=options_pb2.RetrievalOptions(top_k=0)))

    assert caught.value.reason == "INVALID_REQUEST"
    assert caught.value.message == "options.top_k: must be from 1 to 1000 (and 2 more)"
    assert caught.value.violations == (
        FieldViolation("options.top_k", "must be from 1 to 1000"),
        FieldViolation("collection_ids", "has 0 items, must have 1 to 16"),
        FieldViolation("query", "is required"),
    )


def test_check_single_violation_is_the_whole_message() -> None:
    request = retrieve_request()
    request.options.top_k = 10_000

    with pytest.raises(InvalidArgument) as caught:
        check(request)

    assert caught.value.message == "options.top_k: must be from 1 to 1000"


def test_check_message_wrong_as_a_whole_is_named_by_its_type() -> None:
    with pytest.raises(InvalidArgument, match=r"^BooleanFilter: must, should and must_not are all empty$"):
        check(filter_pb2.BooleanFilter())


def test_check_filter_too_deep_has_its_own_reason() -> None:
    request = retrieve_request()
    request.options.filter.CopyFrom(deep_filter(17))

    with pytest.raises(InvalidArgument) as caught:
        check(request)

    assert caught.value.reason == "FILTER_TOO_DEEP"
    assert [violation.field for violation in caught.value.violations] == ["options.filter"]


def test_check_filter_too_large_has_its_own_reason() -> None:
    request = retrieve_request()
    for _ in range(256):
        request.options.filter.boolean.must.add().exists.field = "media_type"

    with pytest.raises(InvalidArgument) as caught:
        check(request)

    assert caught.value.reason == "FILTER_TOO_LARGE"
    assert [violation.field for violation in caught.value.violations] == ["options.filter"]


def test_check_filter_too_deep_among_other_violations_is_an_invalid_request() -> None:
    request = retrieve_request()
    request.options.top_k = 0
    request.options.filter.CopyFrom(deep_filter(17))

    with pytest.raises(InvalidArgument) as caught:
        check(request)

    assert caught.value.reason == "INVALID_REQUEST"


def test_check_two_kinds_of_filter_excess_is_an_invalid_request() -> None:
    batch = retrieve_service_pb2.BatchRetrieveRequest(requests=[retrieve_request(), retrieve_request()])
    batch.requests[0].options.filter.CopyFrom(deep_filter(17))
    for _ in range(256):
        batch.requests[1].options.filter.boolean.must.add().exists.field = "media_type"

    with pytest.raises(InvalidArgument) as caught:
        check(batch)

    assert caught.value.reason == "INVALID_REQUEST"
    assert [v.field for v in caught.value.violations] == [
        "requests[0].options.filter",
        "requests[1].options.filter",
    ]


def test_validate_bare_filter_too_deep_is_a_violation() -> None:
    assert validate(deep_filter(17)) == [FieldViolation("", "has more than 16 levels")]


def test_validate_filter_at_its_deepest_is_walked_to_the_leaf() -> None:
    leaf_is_wrong = deep_filter(16)
    node = leaf_is_wrong
    while node.HasField("boolean"):
        node = node.boolean.must[0]
    node.exists.field = ""

    assert paths(leaf_is_wrong) == ["boolean.must[0]." * 15 + "exists.field"]


def test_validate_path_runs_through_lists_and_oneofs() -> None:
    request = retrieve_request()
    for field in ("media_type", "source_uri", ""):
        comparison = request.options.filter.boolean.must.add().comparison
        comparison.field = field
        comparison.operator = filter_pb2.COMPARISON_OPERATOR_EQUAL
        comparison.value.string_value = "x"

    assert paths(request) == ["options.filter.boolean.must[2].comparison.field"]


def test_validate_path_runs_through_map_entries() -> None:
    request = ingest_service_pb2.IngestDocumentRequest(collection_id="docs", text="x")
    request.document.metadata["price"].string_value = "x" * 4097
    request.document.metadata["tags"].SetInParent()

    assert sorted(paths(request)) == [
        "document.metadata.price.string_value",
        "document.metadata.tags.kind",
    ]


def test_validate_oneof_without_member_names_the_members() -> None:
    request = ingest_service_pb2.IngestDocumentRequest(collection_id="docs")

    assert validate(request) == [FieldViolation("source", "one of text, data, uri is required")]


def test_validate_empty_member_of_a_oneof_is_present_and_too_short() -> None:
    request = ingest_service_pb2.IngestDocumentRequest(collection_id="docs", text="")

    assert validate(request) == [FieldViolation("text", "has 0 code points, must have 1 to 8000000")]


def test_validate_list_over_its_limit_is_one_violation_only() -> None:
    request = retrieve_service_pb2.EmbedRequest(texts=[""] * 129)

    assert validate(request) == [FieldViolation("texts", "has 129 items, must have 1 to 128")]


def test_validate_map_over_its_limit_is_one_violation_only() -> None:
    collection = collection_service_pb2.Collection(labels={f"k{i}": "\0" for i in range(65)})

    assert validate(collection) == [FieldViolation("labels", "has 65 items, must have 0 to 64")]


def test_validate_stops_at_the_greatest_number_of_violations() -> None:
    request = retrieve_service_pb2.EmbedRequest(texts=[""] * 128)

    assert paths(request) == [f"texts[{index}]" for index in range(MAX_VIOLATIONS)]


def test_validate_output_only_field_with_nonsense_is_ignored() -> None:
    request = collection_service_pb2.CreateCollectionRequest(collection_id="docs")
    request.collection.id = "\0" * 1000
    request.collection.revision = -1
    request.collection.create_time.nanos = -1

    assert validate(request) == []


def test_validate_unknown_field_on_the_wire_is_ignored() -> None:
    wire = retrieve_request().SerializeToString() + b"\xf8\x07\x01"  # field 127, varint 1

    assert validate(retrieve_service_pb2.RetrieveRequest.FromString(wire)) == []
