from __future__ import annotations

from typing import Any

import pytest

from rag.v1 import generate_service_pb2 as pb
from rag_server.errors import InvalidArgument
from rag_server.services.wire.resumption import (
    digest_of,
    from_cursor,
    new_answer_id,
    new_server_id,
    server_of,
    to_cursor,
    without_resumption,
)

FIELDS: dict[str, Any] = {"collection_ids": ["docs"], "question": "q", "resume_window_ms": 1000}


def test_cursor_comes_back_as_it_was_made() -> None:
    answer_id = new_answer_id(new_server_id())
    assert from_cursor(to_cursor(answer_id, 123)) == (answer_id, 123)


def test_answer_ids_have_128_bits() -> None:
    assert len({new_answer_id("s") for _ in range(100)}) == 100
    assert len(new_answer_id("s")) == len("s.") + 22


def test_answer_id_says_whose_it_is() -> None:
    server_id = new_server_id()
    assert server_of(new_answer_id(server_id)) == server_id != new_server_id()
    assert server_of("x" * 22) == ""


def test_cursor_fits_its_limit() -> None:
    assert len(to_cursor(new_answer_id(new_server_id()), 10**10 - 1)) < 128


@pytest.mark.parametrize("cursor", ["x", ".1", "x.", "x.+1", "x. 1", "x.1٣", f"x.{'1' * 11}"])
def test_cursor_that_is_none_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        from_cursor(cursor)
    assert caught.value.reason == "INVALID_RESUME_CURSOR"


def test_digest_is_that_of_the_request_without_its_cursor_and_window() -> None:
    digest = digest_of(pb.StreamGenerateRequest(**FIELDS))
    assert digest_of(pb.StreamGenerateRequest(**FIELDS, resume_cursor="x.1")) == digest
    assert digest_of(pb.StreamGenerateRequest(**FIELDS, conversation_id="c")) != digest
    assert digest_of(pb.StreamGenerateRequest(**{**FIELDS, "resume_window_ms": 1001})) == digest


def test_question_alone_has_none_of_the_fields_of_resuming() -> None:
    request = pb.StreamGenerateRequest(**FIELDS, resume_cursor="x.1")
    assert without_resumption(request) == pb.StreamGenerateRequest(collection_ids=["docs"], question="q")
    assert request.resume_cursor == "x.1"
