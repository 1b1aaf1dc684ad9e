from __future__ import annotations

from typing import Any

import pytest

from rag.v1 import conversation_pb2, generate_service_pb2
from rag_server.domain.conversation import ConversationRef, HistoryMessage, Role, TurnInfo
from rag_server.services.wire.query import from_question
from rag_server.services.wire.turn import from_history, from_reference, to_role, to_turn
from tests.unit.rag_server.services.wire.examples import absent

REQUEST_ID = "01234567-89AB-cdef-0123-456789abcdef"
KINDS: list[Any] = [generate_service_pb2.GenerateRequest, generate_service_pb2.StreamGenerateRequest]


@pytest.mark.parametrize("role", Role)
def test_role_is_named_and_read_back(role: Role) -> None:
    assert conversation_pb2.MessageRole.Name(to_role(role)) == f"MESSAGE_ROLE_{role.name}"
    message = conversation_pb2.HistoryMessage(role=to_role(role), text="x")
    assert from_history([message]) == (HistoryMessage(role, "x"),)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.DESCRIPTOR.name)
def test_question_without_a_conversation_refers_to_none(kind: Any) -> None:
    assert from_reference(kind(question="q")) is None


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.DESCRIPTOR.name)
def test_question_without_a_request_id_is_a_call_of_its_own(kind: Any) -> None:
    assert from_reference(kind(question="q", conversation_id="c")) == ConversationRef("c")


def test_question_repeated_by_the_other_method_is_the_same_call() -> None:
    one, other = [
        from_reference(kind(question="q", conversation_id="c", request_id=REQUEST_ID)) for kind in KINDS
    ]
    assert one is not None
    assert one == other
    assert (one.id, one.request_id) == ("c", REQUEST_ID.lower())
    resumable = KINDS[1](
        question="q", conversation_id="c", request_id=REQUEST_ID, resume_window_ms=100, resume_cursor="x.1"
    )
    assert from_reference(resumable) == one
    another = from_reference(KINDS[0](question="r", conversation_id="c", request_id=REQUEST_ID))
    assert another is not None
    assert another.body_hash != one.body_hash


def test_question_carries_what_it_continues() -> None:
    message = conversation_pb2.HistoryMessage(role=conversation_pb2.MESSAGE_ROLE_USER, text="x")
    request = from_question(generate_service_pb2.GenerateRequest(question="q", messages=[message]))
    assert (request.history, request.conversation) == ((HistoryMessage(Role.USER, "x"),), None)
    request = from_question(generate_service_pb2.GenerateRequest(question="q", conversation_id="c"))
    assert (request.history, request.conversation) == ((), ConversationRef("c"))


def test_turn_has_every_field() -> None:
    turn = to_turn(TurnInfo("c", "q", "a", 4, 2, "words", 6))
    assert turn is not None
    assert absent(turn) == set()
    assert to_turn(None) is None
