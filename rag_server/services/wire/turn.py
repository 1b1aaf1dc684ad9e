"""What a question continues: histories, references to conversations, and what is told of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from rag.v1 import conversation_pb2 as pb
from rag.v1 import generate_service_pb2
from rag_server.domain.conversation import ConversationRef, HistoryMessage, Role, TurnInfo
from rag_server.services.wire.resumption import without_resumption

_ROLES = {
    Role.USER: pb.MESSAGE_ROLE_USER,
    Role.ASSISTANT: pb.MESSAGE_ROLE_ASSISTANT,
}
_FROM_ROLES: dict[int, Role] = {proto: role for role, proto in _ROLES.items()}


def to_role(role: Role) -> pb.MessageRole.ValueType:
    """Return a role as the contract names it."""
    return _ROLES[role]


def from_history(messages: Iterable[pb.HistoryMessage]) -> tuple[HistoryMessage, ...]:
    """Return a validated history."""
    return tuple(HistoryMessage(_FROM_ROLES[message.role], message.text) for message in messages)


def from_reference(
    message: generate_service_pb2.GenerateRequest | generate_service_pb2.StreamGenerateRequest,
) -> ConversationRef | None:
    """Return the conversation that a question continues; None: it names none.

    Both requests have the same fields but for resuming, so a call may be repeated by the other method.
    """
    if not message.conversation_id:
        return None
    body_hash = ""
    if message.request_id:
        question = message
        if isinstance(message, generate_service_pb2.StreamGenerateRequest):
            question = without_resumption(message)
        body_hash = hashlib.sha256(question.SerializeToString(deterministic=True)).hexdigest()
    return ConversationRef(message.conversation_id, message.request_id.lower(), body_hash)


def to_turn(turn: TurnInfo | None) -> pb.Turn | None:
    """Return what a question continues as a message; None: nothing."""
    if turn is None:
        return None
    return pb.Turn(
        conversation_id=turn.conversation_id,
        question_id=turn.question_id,
        answer_id=turn.answer_id,
        history_message_count=turn.history_message_count,
        history_left_out_count=turn.history_left_out_count,
        search_question=turn.search_question,
        summarised_message_count=turn.summarised_message_count,
    )
