from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rag.v1 import conversation_service_pb2 as pb
from rag_server.domain.assistant import AssistantChoice, Selection
from rag_server.domain.conversation import AnsweredBefore, Conversation, Role, StoredMessage
from rag_server.domain.document import Span
from rag_server.domain.expansion import SearchedWith
from rag_server.domain.generation import (
    Citation,
    Cited,
    Delta,
    Finished,
    FinishReason,
    GenerationEvent,
    Repeated,
    Retrieved,
    Started,
    Usage,
)
from rag_server.domain.grounding import Grounding, Passage, SentenceGrounding, Support
from rag_server.domain.policy import Part, PolicyReport, Redaction
from rag_server.domain.retrieval import Degradation, Leg, LegSignal, ScoredChunk, ScoreScale
from rag_server.generation.record import Draft
from rag_server.services.wire import conversation as wire
from rag_server.services.wire.query import AnswerWriter
from tests.unit.rag_server.query.conftest import make_chunk
from tests.unit.rag_server.services.wire.examples import absent

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LATER = datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)
CHUNKS = [replace(make_chunk(name), metadata={"year": 2020}) for name in ("one", "two")]
SOURCES = tuple(
    ScoredChunk(chunk, 0.5, {Leg.DENSE: LegSignal(1, 0.5)}, context_before=(chunk,), context_after=(chunk,))
    for chunk in CHUNKS
)
PASSAGES = tuple(Passage(index, chunk.text, chunk=chunk) for index, chunk in enumerate(CHUNKS))
GROUNDING = Grounding((SentenceGrounding(Span(0, 9), 0.5, (Support(1, Span(2, 9), 0.75),)),), PASSAGES)
EVENTS: list[GenerationEvent] = [
    Started(
        "extractive",
        assistant=AssistantChoice(Selection.NAMED, "hr", 3),
        searched=SearchedWith("small", ("q words", "other words")),
    ),
    Retrieved(SOURCES, ScoreScale.RRF, (Degradation.DENSE_ONLY,), {"books": 3}),
    Delta("a pass"),
    Delta("age"),
    Cited(Citation(1, Span(1, 9), Span(2, 9), "passage")),
    Usage(12, 2),
    Finished(
        FinishReason.MAX_TOKENS,
        {"generate": 3, "total": 4},
        "extractive",
        grounding=GROUNDING,
        policy=PolicyReport((Redaction(Part.ANSWER, "pii", "email", 1),)),
    ),
]


def drafted() -> Draft:
    draft = Draft("question", "q words")
    for event in EVENTS:
        draft.add(event)
    return draft


def test_conversation_has_every_field() -> None:
    message = wire.to_conversation(Conversation("acme", "c", "Title", "es", 4, NOW, LATER))
    assert absent(message) == set()
    assert message.create_time.ToDatetime(UTC) == NOW
    assert message.update_time.ToDatetime(UTC) == LATER


def test_question_is_a_message_without_an_answer() -> None:
    message = wire.to_message(StoredMessage("c", "m", 1, Role.USER, "Who?", NOW))
    assert absent(message) == {"answer"}


def test_answer_is_kept_as_it_was_told_without_what_explains_the_ranking() -> None:
    stored = StoredMessage("c", "m", 2, Role.ASSISTANT, "I.", NOW, "question", wire.encode_answer(drafted()))
    message = wire.to_message(stored)
    answer = message.answer
    assert len(answer.ListFields()) == len(answer.DESCRIPTOR.fields)
    assert (answer.question_id, answer.model, answer.search_question) == ("question", "extractive", "q words")
    assert [each.chunk.text for each in answer.sources] == [chunk.text for chunk in CHUNKS]
    assert [each.rank for each in answer.sources] == [1, 2]
    for source in answer.sources:
        assert not source.HasField("signals")
        assert not source.context_before
        assert not source.context_after
    (citation,) = answer.citations
    assert (citation.chunk_id, citation.quote) == ("two", "passage")


def test_answer_with_large_sources_is_kept_without_the_texts_that_nothing_cites(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "MAX_ANSWER_BYTES", 10)
    answer = pb.MessageAnswer.FromString(wire.encode_answer(drafted()))
    uncited, cited = (source.chunk for source in answer.sources)
    assert (uncited.id, uncited.text, dict(uncited.metadata)) == ("one", "", {})
    assert (cited.id, cited.text) == ("two", CHUNKS[1].text)
    assert cited.metadata["year"].integer_value == 2020
    (sentence,) = answer.grounding.sentences
    assert (sentence.score, list(sentence.supports)) == (0.5, [])


def test_answer_that_is_small_enough_without_uncited_texts_keeps_what_supports_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = len(wire.encode_answer(drafted()))
    monkeypatch.setattr(wire, "MAX_ANSWER_BYTES", whole - 1)
    answer = pb.MessageAnswer.FromString(wire.encode_answer(drafted()))
    assert not answer.sources[0].chunk.text
    assert len(answer.grounding.sentences[0].supports) == 1


def test_answer_that_is_repeated_is_the_stream_with_its_text_in_one_piece() -> None:
    answer = StoredMessage(
        "c", "answer", 2, Role.ASSISTANT, "a passage", NOW, "question", wire.encode_answer(drafted())
    )
    repeated = Repeated(AnsweredBefore("c", "question", answer), {"total": 9})
    started, retrieved, delta, citation, usage, finished = wire.to_repeated(repeated)
    writer = AnswerWriter()
    told = [writer.to_event(event) for event in EVENTS]
    turn = started.started.turn
    assert (turn.conversation_id, turn.question_id, turn.answer_id) == ("c", "question", "answer")
    assert (started.started.model, turn.search_question) == ("extractive", "q words")
    assert started.started.assistant == told[0].started.assistant
    assert started.started.searched == told[0].started.searched
    kept, first = retrieved.retrieved, told[1].retrieved
    assert [each.chunk for each in kept.sources] == [each.chunk for each in first.sources]
    assert (kept.score_scale, kept.degradations) == (first.score_scale, first.degradations)
    assert kept.collection_revisions == first.collection_revisions
    assert delta.delta.text == "a passage"
    assert (citation, usage) == (told[4], told[5])
    assert finished.finished.reason == told[6].finished.reason
    assert finished.finished.grounding == told[6].finished.grounding
    assert finished.finished.policy == told[6].finished.policy
    assert finished.finished.timings.total_us == 9


def test_answer_without_text_is_repeated_without_a_delta() -> None:
    answer = StoredMessage("c", "a", 2, Role.ASSISTANT, "", NOW, "q", wire.encode_answer(Draft("q")))
    events = list(wire.to_repeated(Repeated(AnsweredBefore("c", "q", answer), {"total": 9})))
    assert [each.WhichOneof("event") for each in events] == ["started", "retrieved", "usage", "finished"]
