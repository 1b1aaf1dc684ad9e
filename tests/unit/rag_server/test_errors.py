from __future__ import annotations

import grpc
import pytest

from rag_server.errors import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    NotFound,
    RagError,
    ResourceExhausted,
    Unavailable,
)


@pytest.mark.parametrize("kind", RagError.__subclasses__())
def test_error_class_has_a_status_that_grpc_knows(kind: type[RagError]) -> None:
    assert grpc.StatusCode[kind.status] is not grpc.StatusCode.OK


def test_error_classes_have_different_statuses() -> None:
    statuses = [kind.status for kind in RagError.__subclasses__()]
    assert len(set(statuses)) == len(statuses) == 9


@pytest.mark.parametrize(
    "error",
    [
        InvalidArgument("R", "m"),
        NotFound("R", "m"),
        AlreadyExists("R", "m"),
        FailedPrecondition("R", "m"),
        Aborted("R", "m"),
        ResourceExhausted("R", "m"),
        DeadlineExceeded("R", "m"),
        Internal("R", "m"),
    ],
)
def test_error_without_a_time_to_come_back_is_final(error: RagError) -> None:
    assert not error.is_retryable
    assert (error.reason, error.message, str(error)) == ("R", "m", "m")


def test_unavailable_always_says_when_to_come_back() -> None:
    assert Unavailable("R", "m").retry_after_s == 1.0
    assert Unavailable("R", "m").is_retryable


def test_resource_exhausted_with_a_time_is_retryable() -> None:
    assert ResourceExhausted("R", "m", retry_after_s=0.5).is_retryable


def test_for_field_names_the_field_in_message_and_violation() -> None:
    error = InvalidArgument.for_field("filter.range", "is open", reason="R")
    assert error.reason == "R"
    assert error.message == "filter.range: is open"
    assert error.violations == (FieldViolation("filter.range", "is open"),)


def test_for_field_without_reason_has_that_of_any_wrong_field() -> None:
    assert InvalidArgument.for_field("top_k", "is 0").reason == "INVALID_REQUEST"


def test_for_resource_names_kind_and_id() -> None:
    error = NotFound.for_resource("collection", "books")
    assert error.reason == "COLLECTION_NOT_FOUND"
    assert error.message == "no collection 'books'"
    assert error.metadata == {"resource": "collection", "id": "books"}


def test_for_resource_of_two_words_is_told_in_words() -> None:
    error = NotFound.for_resource("assistant_revision", "people@9")
    assert (error.reason, error.message) == (
        "ASSISTANT_REVISION_NOT_FOUND",
        "no assistant revision 'people@9'",
    )


def test_in_field_names_the_field_in_message_and_violation() -> None:
    error = NotFound.for_resource("conversation", "c1").in_field("conversation_id")
    assert (error.reason, error.metadata) == (
        "CONVERSATION_NOT_FOUND",
        {"resource": "conversation", "id": "c1"},
    )
    assert error.message == "conversation_id: no conversation 'c1'"
    assert error.violations == (FieldViolation("conversation_id", "no conversation 'c1'"),)


def test_error_metadata_is_a_copy() -> None:
    given = {"limit": "3"}
    error = ResourceExhausted("R", "m", metadata=given)
    given["limit"] = "4"
    assert error.metadata == {"limit": "3"}
