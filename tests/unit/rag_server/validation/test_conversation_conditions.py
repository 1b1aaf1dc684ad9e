from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from rag.v1 import conversation_pb2, generate_service_pb2
from rag.v1 import conversation_service_pb2 as pb
from rag_server.validation import validate
from rag_server.validation.conversation_conditions import MAX_HISTORY_CHARACTERS

REQUEST_ID = "01234567-89ab-cdef-0123-456789abcdef"
QUESTIONS: list[Any] = [generate_service_pb2.GenerateRequest, generate_service_pb2.StreamGenerateRequest]


def said(text: str) -> conversation_pb2.HistoryMessage:
    return conversation_pb2.HistoryMessage(role=conversation_pb2.MESSAGE_ROLE_USER, text=text)


def paths(message: Any) -> list[str]:
    return [violation.field for violation in validate(message)]


@pytest.mark.parametrize("kind", QUESTIONS, ids=lambda kind: kind.DESCRIPTOR.name)
@pytest.mark.parametrize(
    "fields",
    [
        {"conversation_id": "x"},
        {"conversation_id": "x", "request_id": REQUEST_ID},
        {"messages": [said("a"), said(" b ")]},
        {"messages": [said("x" * 32_768)] * (MAX_HISTORY_CHARACTERS // 32_768)},
    ],
)
def test_question_that_continues_something_passes(kind: Any, fields: dict[str, Any]) -> None:
    assert paths(kind(collection_ids=["docs"], question="x", **fields)) == []


@pytest.mark.parametrize("kind", QUESTIONS, ids=lambda kind: kind.DESCRIPTOR.name)
@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"conversation_id": "x", "messages": [said("a")]}, ["messages"]),
        ({"messages": [said("a"), said("\t ")]}, ["messages[1].text"]),
        (
            {"messages": [*[said("x" * 32_768)] * (MAX_HISTORY_CHARACTERS // 32_768), said("x")]},
            ["messages"],
        ),
        ({"request_id": REQUEST_ID}, ["request_id"]),
    ],
)
def test_question_that_cannot_be_continued_so_is_refused(
    kind: Any, fields: dict[str, Any], refused: list[str]
) -> None:
    assert paths(kind(collection_ids=["docs"], question="x", **fields)) == refused


@pytest.mark.parametrize("title", ["a\nb", "a\x1bb", "\x85"])
def test_title_with_a_control_character_is_refused(title: str) -> None:
    request = pb.CreateConversationRequest(conversation=pb.Conversation(title=title))
    assert paths(request) == ["conversation.title"]


def test_title_of_one_line_passes() -> None:
    assert paths(pb.CreateConversationRequest(conversation=pb.Conversation(title="Año · 漢"))) == []


@pytest.mark.parametrize(
    ("mask", "refused"),
    [
        (["title"], []),
        ([], ["update_mask"]),
        (["title", "id"], ["update_mask.paths[1]"]),
        (["Title"], ["update_mask.paths[0]"]),
    ],
)
def test_update_mask_names_the_title_only(mask: list[str], refused: list[str]) -> None:
    request = pb.UpdateConversationRequest(
        conversation_id="x", conversation=pb.Conversation(title="t"), update_mask=FieldMask(paths=mask)
    )
    assert paths(request) == refused
