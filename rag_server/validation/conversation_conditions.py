"""Conditions over several fields of the messages that belong to conversations.

`custom.CHECKS` says which of them holds for which message.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Final

from rag.v1 import conversation_service_pb2, generate_service_pb2
from rag_server.validation.finding import Finding

MAX_HISTORY_CHARACTERS: Final = 262_144
"""The greatest length of all messages of an inline history, in code points."""

UPDATABLE_FIELDS: Final = ("title",)
"""What an `update_mask` may name."""

_Question = generate_service_pb2.GenerateRequest | generate_service_pb2.StreamGenerateRequest


def history_is_given_once(message: _Question) -> Iterator[Finding]:
    """A question continues a stored conversation or messages of its own, not both."""
    if message.conversation_id and message.messages:
        yield Finding(
            "messages", "cannot be set together with conversation_id, whose messages are the history"
        )


def history_is_not_blank(message: _Question) -> Iterator[Finding]:
    """Each message of the history says something; an absent text is found elsewhere."""
    for index, each in enumerate(message.messages):
        if each.text and not each.text.strip():
            yield Finding(f"messages[{index}].text", "has nothing but white space")


def history_is_bounded(message: _Question) -> Iterator[Finding]:
    """The messages of the history together are not too long."""
    length = sum(len(each.text) for each in message.messages)
    if length > MAX_HISTORY_CHARACTERS:
        yield Finding(
            "messages", f"have {length} code points in all, the maximum is {MAX_HISTORY_CHARACTERS}"
        )


def request_id_is_of_a_conversation(message: _Question) -> Iterator[Finding]:
    """Only a question that is recorded can be told from its repetition."""
    if message.request_id and not message.conversation_id:
        yield Finding("request_id", "cannot be set without conversation_id: nothing of this call is stored")


def title_has_no_controls(message: conversation_service_pb2.Conversation) -> Iterator[Finding]:
    """A title is one line of text."""
    if any(unicodedata.category(character) == "Cc" for character in message.title):
        yield Finding("title", "has a control character or a line break")


def update_mask_is_updatable(
    message: conversation_service_pb2.UpdateConversationRequest,
) -> Iterator[Finding]:
    """`update_mask` names at least one field, and only fields that can change."""
    if message.HasField("update_mask") and not message.update_mask.paths:
        yield Finding("update_mask", "names no field")
    for index, path in enumerate(message.update_mask.paths):
        if path not in UPDATABLE_FIELDS:
            yield Finding(f"update_mask.paths[{index}]", f"must be one of {', '.join(UPDATABLE_FIELDS)}")
