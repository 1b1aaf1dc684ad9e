from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rag_server.backends.extractive.candidates import CandidateSentence
from rag_server.backends.extractive.choice import Choice, choose
from rag_server.backends.extractive.evidence import Scores
from rag_server.backends.extractive.reading import Reading
from rag_server.domain.document import Span
from rag_server.domain.retrieval import ScoredChunk

MakeSource = Callable[..., ScoredChunk]
QUESTION = "Why do herons wait?"


@pytest.fixture
def source(make_source: MakeSource) -> ScoredChunk:
    return make_source("Herons wait.", cosine=0.5)


def candidate(text: str, source_index: int = 0) -> CandidateSentence:
    words = frozenset(text.lower().split())
    return CandidateSentence(source_index, Span(0, len(text)), text, words, words, words)


def chosen(
    lexical: dict[str, float],
    cosines: list[float] | None,
    source: ScoredChunk,
    *,
    question: str = QUESTION,
    is_spoken: bool = True,
) -> Choice:
    reading = Reading([candidate(text) for text in lexical], np.array([*lexical.values()]), has_terms=True)
    known: Scores | None = None if cosines is None else np.array(cosines)
    return choose(question, reading, known, [source], is_spoken=is_spoken, limit=3)


def texts(choice: Choice) -> list[str]:
    return [each.text for each in choice.sentences]


def test_choose_takes_the_mean_of_both_views(source: ScoredChunk) -> None:
    choice = chosen({"words": 0.6, "meaning": 0.5}, [0.1, 0.9], source)
    assert texts(choice)[0] == "meaning"
    assert choice.confidence == pytest.approx((0.5 + (0.9 + 0.5) / 2) / 2)


def test_choose_unspoken_language_trusts_words_more(source: ScoredChunk) -> None:
    lexical = {"words": 0.9, "meaning": 0.5}
    assert texts(chosen(lexical, [0.0, 0.9], source))[0] == "meaning"
    assert texts(chosen(lexical, [0.0, 0.9], source, is_spoken=False))[0] == "words"


def test_choose_without_cosines_goes_by_words_and_passages(source: ScoredChunk) -> None:
    choice = chosen({"few": 0.4, "all": 1.0}, None, source)
    assert texts(choice)[0] == "all"
    estimated = 0.75 * 0.5 + 0.25 * 1.0
    assert choice.confidence == pytest.approx((1.0 + (estimated + 0.5) / 2) / 2)


def test_choose_without_cosines_support_has_to_be_closer_to_the_best(source: ScoredChunk) -> None:
    lexical = {"best": 1.0, "half": 0.5}
    assert texts(chosen(lexical, None, source)) == ["best"]
    # the same cosines, had the model found them
    assert texts(chosen(lexical, [0.625, 0.5], source)) == ["best", "half"]


def test_choose_between_equals_takes_the_better_source(make_source: MakeSource) -> None:
    sources = [replace(make_source("a"), score=0.2), replace(make_source("b", document="d2"), score=0.8)]
    reading = Reading([candidate("far"), candidate("near", 1)], np.array([0.7, 0.7]), has_terms=True)
    choice = choose(QUESTION, reading, None, sources, is_spoken=True, limit=1)
    assert texts(choice) == ["near"]


def test_choose_number_asked_for_prefers_the_sentence_with_one(source: ScoredChunk) -> None:
    lexical = {"herons wait": 0.52, "herons wait 3 hours": 0.5}
    assert texts(chosen(lexical, None, source))[0] == "herons wait"
    assert texts(chosen(lexical, None, source, question="How long?"))[0] == "herons wait 3 hours"
