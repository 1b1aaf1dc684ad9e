from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from rag.v1 import assistant_pb2 as pb
from rag.v1 import fusion_pb2, generate_service_pb2, options_pb2, rerank_pb2, retrieved_chunk_pb2
from rag.v1.assistant_service_pb2 import UpdateAssistantRequest
from rag_server.domain.assistant import Assistant, AssistantChoice, AssistantProfile, Selection
from rag_server.errors import InvalidArgument
from rag_server.services.wire.assistant import (
    changed,
    from_assistant,
    named_models,
    to_assistant,
    to_choice,
    with_assistant,
)
from rag_server.services.wire.query import from_question
from tests.unit.rag_server.services.wire.examples import absent

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MESSAGE = pb.Assistant(
    display_name="People",
    description="Leave and pay",
    instructions="Be kind.",
    language="es",
    collection_ids=["handbook"],
    retrieval=options_pb2.RetrievalOptions(
        top_k=7,
        context_chunks=2,
        fusion=fusion_pb2.Fusion(rrf=fusion_pb2.RrfFusion(k=9)),
        rerank=rerank_pb2.Rerank(late_interaction=rerank_pb2.LateInteractionRerank()),
    ),
    generation=options_pb2.GenerationOptions(
        max_answer_tokens=99, temperature=0.5, stop=["END"], model="fast"
    ),
    keywords=["leave"],
    examples=["How long?"],
)
KINDS: list[Any] = [generate_service_pb2.GenerateRequest, generate_service_pb2.StreamGenerateRequest]


def stored(message: pb.Assistant = MESSAGE) -> Assistant:
    return Assistant("acme", "hr", "uid", 3, from_assistant(message), True, NOW, NOW)


def test_assistant_is_read_back_as_it_was_given() -> None:
    message = to_assistant(stored())
    unset = {each for each in absent(message) if "." not in each}
    assert unset == set()
    assert from_assistant(message) == from_assistant(MESSAGE)
    assert (message.id, message.revision, message.is_default) == ("hr", 3, True)
    for name in ("retrieval", "generation"):
        assert getattr(message, name) == getattr(MESSAGE, name)


def test_assistant_without_settings_has_none() -> None:
    profile = from_assistant(pb.Assistant(retrieval=options_pb2.RetrievalOptions()))
    assert profile == AssistantProfile()
    message = to_assistant(stored(pb.Assistant()))
    assert not message.HasField("retrieval")
    assert not message.HasField("generation")


def updated(new: pb.Assistant, *paths: str) -> pb.Assistant:
    """Return what `MESSAGE` becomes by an update."""
    profile = changed(from_assistant(MESSAGE), _update(new, *paths))
    return to_assistant(Assistant("acme", "hr", "uid", 3, profile, True, NOW, NOW))


def _update(new: pb.Assistant, *paths: str) -> UpdateAssistantRequest:
    return UpdateAssistantRequest(assistant_id="hr", assistant=new, update_mask=FieldMask(paths=paths))


def test_change_takes_the_fields_of_the_mask_alone() -> None:
    new = pb.Assistant(instructions="Be brief.", keywords=["pay"])
    expected = copy.deepcopy(MESSAGE)
    del expected.keywords[:]
    expected.keywords.append("pay")
    expected.description = ""
    found = updated(new, "keywords", "description")
    assert from_assistant(found) == from_assistant(expected)


def test_change_of_single_settings_leaves_the_others() -> None:
    new = pb.Assistant(
        generation=options_pb2.GenerationOptions(model="slow", seed=5),
        retrieval=options_pb2.RetrievalOptions(
            fusion=fusion_pb2.Fusion(min_max=fusion_pb2.MinMaxFusion(dense_weight=2))
        ),
    )
    found = updated(new, "generation.model", "generation.temperature", "generation.stop", "retrieval.fusion")
    assert found.generation == options_pb2.GenerationOptions(max_answer_tokens=99, model="slow")
    expected = copy.deepcopy(MESSAGE.retrieval)
    expected.fusion.CopyFrom(new.retrieval.fusion)
    assert found.retrieval == expected


def test_change_of_a_setting_that_is_not_given_takes_it_away() -> None:
    found = updated(pb.Assistant(), "generation.model", "retrieval.top_k", "retrieval.rerank")
    assert not found.generation.model
    assert found.generation.max_answer_tokens == 99
    assert not found.retrieval.HasField("top_k")
    assert not found.retrieval.HasField("rerank")
    assert found.retrieval.context_chunks == 2


def test_change_of_all_settings_replaces_them() -> None:
    found = updated(pb.Assistant(generation=options_pb2.GenerationOptions(seed=5)), "generation", "retrieval")
    assert found.generation == options_pb2.GenerationOptions(seed=5)
    assert not found.HasField("retrieval")


def test_change_that_does_not_go_with_what_stays_is_refused() -> None:
    threshold = options_pb2.ScoreThreshold(scale=retrieved_chunk_pb2.SCORE_SCALE_RRF, min_score=0.01)
    fused = pb.Assistant(retrieval=options_pb2.RetrievalOptions(fusion=MESSAGE.retrieval.fusion))
    fused.retrieval.threshold.CopyFrom(threshold)
    new = pb.Assistant(
        retrieval=options_pb2.RetrievalOptions(fusion=fusion_pb2.Fusion(min_max=fusion_pb2.MinMaxFusion()))
    )
    with pytest.raises(InvalidArgument) as caught:
        changed(from_assistant(fused), _update(new, "retrieval.fusion"))
    assert [each.field for each in caught.value.violations] == ["assistant.retrieval.threshold.scale"]


@pytest.mark.parametrize("selection", Selection)
def test_choice_is_named(selection: Selection) -> None:
    choice = to_choice(AssistantChoice(selection, "hr", 3, "leave", 0.5))
    assert choice is not None
    assert pb.AssistantSelection.Name(choice.selection) == f"ASSISTANT_SELECTION_{selection.name}"
    assert absent(choice) == set()
    none = to_choice(AssistantChoice(selection))
    assert none is not None
    assert not none.HasField("score")
    assert to_choice(None) is None


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.DESCRIPTOR.name)
def test_question_takes_what_it_does_not_set_itself(kind: Any) -> None:
    request = kind(question="q", assistant="hr")
    whole = with_assistant(request, stored())
    assert (whole.question, list(whole.collection_ids), whole.assistant) == ("q", ["handbook"], "")
    assert whole.retrieval == MESSAGE.retrieval
    expected = options_pb2.GenerationOptions(language="es")
    expected.MergeFrom(MESSAGE.generation)
    assert whole.generation == expected
    assert request == kind(question="q", assistant="hr")


def test_fields_of_the_question_win_one_by_one_and_as_a_whole() -> None:
    request = generate_service_pb2.GenerateRequest(
        question="q",
        assistant="hr",
        collection_ids=["law"],
        retrieval=options_pb2.RetrievalOptions(
            context_chunks=0, fusion=fusion_pb2.Fusion(min_max=fusion_pb2.MinMaxFusion(dense_weight=2))
        ),
        generation=options_pb2.GenerationOptions(temperature=0.0, stop=["STOP"], language="en"),
    )
    whole = with_assistant(request, stored())
    assert list(whole.collection_ids) == ["law"]
    assert (whole.retrieval.top_k, whole.retrieval.context_chunks) == (7, 0)
    assert whole.retrieval.fusion == request.retrieval.fusion
    assert whole.retrieval.HasField("rerank")
    assert (whole.generation.max_answer_tokens, whole.generation.model) == (99, "fast")
    assert (whole.generation.temperature, list(whole.generation.stop)) == (0.0, ["STOP"])
    assert whole.generation.language == "en"


def test_models_that_options_name_come_with_their_fields() -> None:
    options = options_pb2.GenerationOptions(model="small", expansion={"hyde": {}}, rewriting={"rules": {}})
    assert list(named_models(options)) == [("model", "small")]
    options.expansion.model = "fast"
    options.rewriting.model.model = "large"
    assert list(named_models(options)) == [
        ("model", "small"),
        ("expansion.model", "fast"),
        ("rewriting.model.model", "large"),
    ]


def test_settings_that_do_not_go_together_are_refused_by_field() -> None:
    request = generate_service_pb2.GenerateRequest(
        question="q",
        assistant="hr",
        retrieval=options_pb2.RetrievalOptions(grouping=options_pb2.DocumentGrouping(chunks_per_document=50)),
    )
    with pytest.raises(InvalidArgument) as caught:
        with_assistant(request, stored())
    assert [each.field for each in caught.value.violations] == ["retrieval.grouping.chunks_per_document"]


def test_question_asks_for_its_assistant_and_keeps_its_identity() -> None:
    message = generate_service_pb2.GenerateRequest(question="q", assistant="hr", collection_ids=["law"])
    request = from_question(message)
    assert request.assistant is not None
    assert request.assistant.name == "hr"
    merged = request.assistant.merged(stored())
    assert (merged.max_tokens, merged.retrieval.top_k, merged.assistant) == (99, 7, None)
    assert request.assistant.merged(None).max_tokens == 512
    message.ClearField("assistant")
    assert from_question(message).assistant is None
