from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from rag.v1 import assistant_service_pb2 as pb
from rag.v1 import generate_service_pb2, options_pb2, retrieved_chunk_pb2
from rag.v1.assistant_pb2 import Assistant
from rag_server.validation import validate
from rag_server.validation.assistant_conditions import UPDATABLE_FIELDS

REVISION = retrieved_chunk_pb2.CollectionRevision(collection_id="law", revision=1)
KINDS: list[Any] = [generate_service_pb2.GenerateRequest, generate_service_pb2.StreamGenerateRequest]


def fields(message: Any) -> list[str]:
    return [each.field for each in validate(message)]


def of_assistant(**values: Any) -> list[str]:
    request = pb.CreateAssistantRequest(assistant_id="hr", assistant=Assistant(**values))
    return fields(request)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.DESCRIPTOR.name)
def test_question_names_collections_or_an_assistant(kind: Any) -> None:
    assert fields(kind(question="q")) == ["collection_ids"]
    assert fields(kind(question="q", assistant="auto")) == []
    assert fields(kind(question="q", collection_ids=["law"])) == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.DESCRIPTOR.name)
def test_min_revisions_of_an_assistants_collections_are_looked_at_later(kind: Any) -> None:
    retrieval = options_pb2.RetrievalOptions(min_revisions=[REVISION])
    assert fields(kind(question="q", assistant="hr", retrieval=retrieval)) == []
    assert fields(kind(question="q", assistant="hr", collection_ids=["a"], retrieval=retrieval)) == [
        "retrieval.min_revisions[0].collection_id"
    ]


def test_auto_is_no_name() -> None:
    assert fields(pb.CreateAssistantRequest(assistant_id="auto")) == ["assistant_id"]
    assert fields(pb.CreateAssistantRequest(assistant_id="automatic")) == []


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"instructions": "a\x1bb"}, "instructions"),
        ({"instructions": "a\x7fb"}, "instructions"),
        ({"collection_ids": ["a", "a"]}, "collection_ids[1]"),
        ({"keywords": ["a", "b", "a"]}, "keywords[2]"),
        ({"examples": ["a", " \n"]}, "examples[1]"),
        ({"generation": options_pb2.GenerationOptions(language="es")}, "generation.language"),
        ({"retrieval": options_pb2.RetrievalOptions(min_revisions=[REVISION])}, "retrieval.min_revisions"),
        ({"retrieval": options_pb2.RetrievalOptions(explain=options_pb2.Explain())}, "retrieval.explain"),
        ({"retrieval": options_pb2.RetrievalOptions(top_k=101)}, "retrieval.top_k"),
    ],
)
def test_what_an_assistant_cannot_have_is_refused_by_field(values: dict[str, Any], path: str) -> None:
    assert of_assistant(**values) == [f"assistant.{path}"]


def test_plain_assistant_is_taken() -> None:
    assert (
        of_assistant(
            instructions="One.\r\n\tTwo.",
            collection_ids=["a", "b"],
            keywords=["a", "b"],
            examples=["a?", "a?"],
            retrieval=options_pb2.RetrievalOptions(top_k=100),
        )
        == []
    )


def test_update_mask_names_fields_that_can_change() -> None:
    def update(*paths: str) -> list[str]:
        mask = FieldMask(paths=paths)
        return fields(
            pb.UpdateAssistantRequest(assistant_id="hr", assistant=Assistant(id="hr"), update_mask=mask)
        )

    assert update(*UPDATABLE_FIELDS) == []
    assert update() == ["update_mask"]
    assert update("keywords", "revision", "retrieval.depth") == [
        "update_mask.paths[1]",
        "update_mask.paths[2]",
    ]


def test_update_mask_names_single_settings_that_an_assistant_may_have() -> None:
    def refused(path: str) -> bool:
        request = pb.UpdateAssistantRequest(assistant_id="hr", assistant=Assistant(id="hr"))
        request.update_mask.paths.append(path)
        return fields(request) == ["update_mask.paths[0]"]

    assert not refused("retrieval.top_k")
    assert not refused("generation.grounding")
    for path in ("retrieval.explain", "retrieval.min_revisions", "generation.language"):
        assert refused(path)
    for path in ("retrieval.", "keywords.a", "generation.grounding.min_score"):
        assert refused(path)
