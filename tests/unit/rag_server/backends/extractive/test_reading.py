from __future__ import annotations

from collections.abc import Callable

import pytest

from rag_server.backends.extractive.candidates import CandidateReader
from rag_server.backends.extractive.reading import Reading, read
from rag_server.backends.extractive.statistics import SentenceStatistics
from rag_server.domain.retrieval import ScoredChunk
from rag_server.text.analyzer import Analyzer

MakeSource = Callable[..., ScoredChunk]


def reading_of(question: str, *sources: ScoredChunk) -> Reading:
    return read(
        question,
        sources,
        analyzer=Analyzer.for_language("en"),
        reader=CandidateReader(),
        statistics=SentenceStatistics,
    )


def test_read_gives_each_sentence_the_evidence_of_its_words(make_source: MakeSource) -> None:
    reading = reading_of("Where do herons wait?", make_source("Bread takes long. Herons wait by rivers."))
    assert [each.text for each in reading.candidates] == ["Bread takes long.", "Herons wait by rivers."]
    assert reading.lexical.tolist() == pytest.approx([0.25, 1.0])
    assert reading.has_terms


def test_read_question_of_function_words_has_no_terms(make_source: MakeSource) -> None:
    reading = reading_of("Who is he?", make_source("Herons wait by rivers."))
    assert not reading.has_terms
    assert reading.lexical.tolist() == [0.0]


def test_read_no_sources_is_empty() -> None:
    reading = reading_of("Where do herons wait?")
    assert reading.candidates == []
    assert reading.shortlist(3).candidates == []


def test_shortlist_keeps_what_the_words_find_in_the_order_of_the_sources(make_source: MakeSource) -> None:
    reading = reading_of(
        "Where do herons wait?",
        make_source("Bread takes long. Herons eat fish.", document="d1"),
        make_source("Flour is white. Herons wait by rivers.", document="d2"),
    )
    shortlist = reading.shortlist(2)
    assert [each.text for each in shortlist.candidates] == ["Herons eat fish.", "Herons wait by rivers."]
    assert shortlist.lexical.tolist() == reading.lexical[[1, 3]].tolist()


def test_shortlist_where_words_find_nothing_keeps_the_best_source(make_source: MakeSource) -> None:
    reading = reading_of(
        "¿Dónde esperan las garzas?",
        make_source("Bread takes long.", document="d1"),
        make_source("Herons wait by rivers.", document="d2"),
    )
    assert [each.source_index for each in reading.shortlist(1).candidates] == [0]
