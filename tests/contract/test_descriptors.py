"""The contract's conventions, checked on the descriptors."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, MethodDescriptorProto

from tests.contract.proto_source import Element, elements, files

SIGNED = {FieldDescriptorProto.TYPE_INT32, FieldDescriptorProto.TYPE_INT64}
UNSIGNED = {
    FieldDescriptorProto.TYPE_UINT32,
    FieldDescriptorProto.TYPE_UINT64,
    FieldDescriptorProto.TYPE_FIXED32,
    FieldDescriptorProto.TYPE_FIXED64,
}
MUTATING = re.compile(r"(Create|Update|Delete|BatchDelete|Restore|Ingest|Cancel|Retry|Start)[A-Z]")
STREAMED = frozenset({"IngestDocuments"})
"""Mutating methods whose requests are messages of a stream: the first one has the id, and each item."""
UNIT_SUFFIXES = ("_ms", "_us", "_bytes", "_tokens", "_count")
MESSAGES = {f"{file.package}.{message.name}": message for file in files() for message in file.message_type}
METHODS = [method for file in files() for service in file.service for method in service.method]


def fields() -> Iterator[tuple[str, FieldDescriptorProto]]:
    for full_name, message in MESSAGES.items():
        for field in message.field:
            yield f"{full_name}.{field.name}", field


def type_of(name: str) -> DescriptorProto:
    return MESSAGES[name.removeprefix(".")]


def field_named(message: DescriptorProto, name: str) -> FieldDescriptorProto | None:
    return next((field for field in message.field if field.name == name), None)


@pytest.mark.parametrize(
    "method",
    [m for m in METHODS if MUTATING.match(m.name) and m.name not in STREAMED],
    ids=lambda method: method.name,
)
def test_mutating_method_has_request_id(method: MethodDescriptorProto) -> None:
    field = field_named(type_of(method.input_type), "request_id")

    assert field is not None
    assert field.type == FieldDescriptorProto.TYPE_STRING


@pytest.mark.parametrize("message", ["UploadStart", "IngestDocumentsStart", "IngestDocumentsItem"])
def test_stream_has_request_id_in_its_messages(message: str) -> None:
    assert field_named(MESSAGES[f"rag.v1.{message}"], "request_id") is not None


@pytest.mark.parametrize(
    "method", [m for m in METHODS if m.name.startswith("List")], ids=lambda method: method.name
)
def test_list_method_is_paged(method: MethodDescriptorProto) -> None:
    request, response = type_of(method.input_type), type_of(method.output_type)
    page_size = field_named(request, "page_size")
    page_token = field_named(request, "page_token")
    next_page_token = field_named(response, "next_page_token")

    assert page_size is not None
    assert (page_size.type, page_size.proto3_optional) == (FieldDescriptorProto.TYPE_INT32, True)
    assert page_token is not None
    assert page_token.type == FieldDescriptorProto.TYPE_STRING
    assert next_page_token is not None
    assert next_page_token.type == FieldDescriptorProto.TYPE_STRING


def test_methods_have_messages_of_their_own_name() -> None:
    wrong = [
        m.name
        for m in METHODS
        if (m.input_type, m.output_type) != (f".rag.v1.{m.name}Request", f".rag.v1.{m.name}Response")
    ]

    assert wrong == []


def test_fields_with_a_unit_are_signed_integers() -> None:
    measured = [(name, field) for name, field in fields() if field.name.endswith(UNIT_SUFFIXES)]

    assert measured
    assert [name for name, field in measured if field.type not in SIGNED] == []


def test_fields_are_never_unsigned() -> None:
    assert [name for name, field in fields() if field.type in UNSIGNED] == []


def test_field_names_do_not_begin_with_num() -> None:
    assert [name for name, field in fields() if field.name.startswith("num_")] == []


def test_enum_zero_is_unspecified() -> None:
    enums = [enum for file in files() for enum in file.enum_type]

    assert enums
    for enum in enums:
        zero = next(value for value in enum.value if value.number == 0)
        prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper()
        assert zero.name == f"{prefix}_UNSPECIFIED"


def test_generate_requests_have_identical_fields_but_for_those_of_resuming() -> None:
    unary, stream = MESSAGES["rag.v1.GenerateRequest"], MESSAGES["rag.v1.StreamGenerateRequest"]
    comments = {element.full_name: element.comment for element in elements()}

    of_a_stream = {"resume_window_ms", "resume_cursor"}
    assert of_a_stream <= {field.name for field in stream.field}
    assert list(unary.field) == [field for field in stream.field if field.name not in of_a_stream]
    for field in unary.field:
        assert (
            comments[f"rag.v1.GenerateRequest.{field.name}"]
            == comments[f"rag.v1.StreamGenerateRequest.{field.name}"]
        )


def test_imports_are_well_known_types_or_the_contract() -> None:
    foreign = [
        (file.name, dependency)
        for file in files()
        for dependency in file.dependency
        if not dependency.startswith(("google/protobuf/", "rag/v1/"))
    ]

    assert foreign == []


def test_elements_of_every_kind_are_found() -> None:
    assert {element.kind for element in elements()} == {
        "message",
        "field",
        "oneof",
        "enum",
        "value",
        "service",
        "rpc",
    }


@pytest.mark.parametrize("kind", ["message", "field", "oneof", "enum", "value", "service", "rpc"])
def test_comment_begins_with_the_element_s_name(kind: str) -> None:
    def begins_well(element: Element) -> bool:
        return re.match(rf"{re.escape(element.name)}\b", element.comment) is not None

    assert [e.full_name for e in elements() if e.kind == kind and not begins_well(e)] == []


def test_comment_ends_with_a_full_stop() -> None:
    assert [e.full_name for e in elements() if not e.comment.endswith((".", ".)"))] == []
