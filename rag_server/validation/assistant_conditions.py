"""Conditions over several fields of the messages that belong to assistants.

`custom.CHECKS` says which of them holds for which message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from rag.v1 import assistant_pb2, assistant_service_pb2, generate_service_pb2
from rag_server.domain.assistant import AUTO
from rag_server.validation.finding import Finding, repetitions

UPDATABLE_FIELDS: Final = (
    "display_name",
    "description",
    "instructions",
    "language",
    "collection_ids",
    "retrieval",
    "generation",
    "keywords",
    "examples",
    "is_default",
)
"""What an `update_mask` may name, and of the settings in it each of their fields."""

_OF_REQUESTS: Final = frozenset({"retrieval.min_revisions", "retrieval.explain", "generation.language"})
"""Settings that no assistant has."""

_CONTROLS: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

_Question = generate_service_pb2.GenerateRequest | generate_service_pb2.StreamGenerateRequest


def collections_are_named(message: _Question) -> Iterator[Finding]:
    """A question without an assistant names its collections."""
    if not message.collection_ids and not message.assistant:
        yield Finding("collection_ids", "has 0 items, must have 1 to 16 without an assistant")


def id_is_not_auto(message: assistant_service_pb2.CreateAssistantRequest) -> Iterator[Finding]:
    """`auto` chooses an assistant, so that none can be called so."""
    if message.assistant_id == AUTO:
        yield Finding("assistant_id", f"cannot be {AUTO!r}, by which requests have an assistant chosen")


def update_mask_is_updatable(
    message: assistant_service_pb2.UpdateAssistantRequest,
) -> Iterator[Finding]:
    """`update_mask` names at least one field, and only fields that can change."""
    if message.HasField("update_mask") and not message.update_mask.paths:
        yield Finding("update_mask", "names no field")
    for index, path in enumerate(message.update_mask.paths):
        if path not in UPDATABLE_FIELDS and not _is_setting(path):
            known = f"{', '.join(UPDATABLE_FIELDS)}, or a setting such as generation.model"
            yield Finding(f"update_mask.paths[{index}]", f"must be one of {known}")


def _is_setting(path: str) -> bool:
    """Whether `path` names a field of `retrieval` or `generation` that an assistant may have."""
    group, _, name = path.partition(".")
    if group not in {"retrieval", "generation"} or path in _OF_REQUESTS:
        return False
    settings = assistant_pb2.Assistant.DESCRIPTOR.fields_by_name[group].message_type
    return settings is not None and name in settings.fields_by_name


def instructions_have_no_controls(message: assistant_pb2.Assistant) -> Iterator[Finding]:
    """Instructions are plain text."""
    if _CONTROLS.search(message.instructions):
        yield Finding("instructions", "has a control character other than tab, line feed and carriage return")


def defaults_are_of_any_request(message: assistant_pb2.Assistant) -> Iterator[Finding]:
    """The defaults hold nothing that only one request can mean, or that has its own field."""
    if message.retrieval.min_revisions:
        yield Finding("retrieval.min_revisions", "is for requests only")
    if message.retrieval.HasField("explain"):
        yield Finding("retrieval.explain", "is for Retrieve and BatchRetrieve only")
    if message.generation.language:
        yield Finding("generation.language", "is `language` of the assistant itself")


def keywords_are_distinct(message: assistant_pb2.Assistant) -> Iterator[Finding]:
    """No keyword stands twice."""
    for index in repetitions(message.keywords):
        yield Finding(f"keywords[{index}]", "repeats an earlier keyword")


def examples_are_not_blank(message: assistant_pb2.Assistant) -> Iterator[Finding]:
    """Each example asks something; an absent text is found elsewhere."""
    for index, text in enumerate(message.examples):
        if text and not text.strip():
            yield Finding(f"examples[{index}]", "is only white space")
