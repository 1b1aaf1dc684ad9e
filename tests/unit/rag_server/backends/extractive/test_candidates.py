from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rag_server.backends.extractive.candidates import CandidateReader, find_candidates
from rag_server.domain.retrieval import ScoredChunk
from rag_server.text.analyzer import Analyzer

MakeSource = Callable[..., ScoredChunk]

DOCUMENT = "The first sentence is here. The second one follows it. The third one ends it."


def words(text: str) -> list[str]:
    return text.lower().replace(".", "").split()


def test_candidates_span_is_exact(make_source: MakeSource) -> None:
    sources = [make_source(DOCUMENT)]
    for candidate in find_candidates(sources, words):
        assert DOCUMENT[candidate.span.start : candidate.span.end] == candidate.text


def test_candidates_overlapping_chunks_give_each_sentence_once(make_source: MakeSource) -> None:
    second = DOCUMENT.index("The second")
    sources = [make_source(DOCUMENT[second:], start=second), make_source(DOCUMENT)]
    found = find_candidates(sources, words)
    assert [(c.source_index, c.text[:9]) for c in found] == [
        (0, "The secon"),
        (0, "The third"),
        (1, "The first"),
    ]


def test_candidates_sentence_cut_at_either_end_of_a_chunk_gives_way_to_the_whole(
    make_source: MakeSource,
) -> None:
    middle = DOCUMENT.index("one follows it")
    sources = [
        make_source(DOCUMENT[middle:], start=middle),
        make_source(DOCUMENT[: DOCUMENT.index(" ends it")]),
        make_source(DOCUMENT),
    ]
    assert sorted(c.text for c in find_candidates(sources, words)) == [
        "The first sentence is here.",
        "The second one follows it.",
        "The third one ends it.",
    ]


def test_candidates_same_place_in_other_revision_is_another_sentence(make_source: MakeSource) -> None:
    sources = [make_source("One two three."), make_source("Four five six.", revision=2)]
    assert len(find_candidates(sources, words)) == 2


def test_candidates_same_words_in_two_documents_cite_the_better_ranked(make_source: MakeSource) -> None:
    sources = [make_source("One two  three."), make_source("one two three.", document="d2")]
    (candidate,) = find_candidates(sources, words)
    assert candidate.source_index == 0


def test_candidates_heading_and_title_are_context_and_no_candidates(make_source: MakeSource) -> None:
    text = "Opening hours of the office\n\nWe open at nine.\n\nAnnual report of Acme"
    source = make_source(text, headings=("Opening hours of the office",), title="Annual report of ACME")
    (candidate,) = find_candidates([source], words)
    assert candidate.text == "We open at nine."
    assert "hours" in candidate.context_lexemes - candidate.lexemes
    assert "annual" in candidate.passage_lexemes - candidate.context_lexemes


def test_candidates_question_lends_its_words_to_the_answer(make_source: MakeSource) -> None:
    (candidate,) = find_candidates([make_source("What does it cost? Ten euros a month.")], words)
    assert candidate.text == "Ten euros a month."
    assert "cost?" in candidate.context_lexemes


def test_candidates_of_nothing_are_none(make_source: MakeSource) -> None:
    assert find_candidates([], words) == []
    assert find_candidates([make_source("")], words) == []


def test_reader_finds_the_same_when_it_knows_a_passage_in_each_language_and_place(
    make_source: MakeSource,
) -> None:
    first = make_source("The heron waits by the river.")
    second = make_source("Bread needs a long time.")
    reader = CandidateReader(max_passages=2)
    for language in ("en", "es", "en"):
        analyzer = Analyzer.for_language(language)
        for sources in ([first, second], [second, first], [second]):
            assert reader.find(sources, analyzer) == find_candidates(sources, analyzer.analyze)


def test_reader_that_remembers_nothing_finds_the_same(make_source: MakeSource) -> None:
    analyzer, reader = Analyzer.for_language("en"), CandidateReader(max_passages=0)
    source = make_source("The heron waits by the river.")
    for _ in range(2):
        assert reader.find([source], analyzer) == find_candidates([source], analyzer.analyze)


def test_reader_tells_passages_apart_by_what_stands_above_them(make_source: MakeSource) -> None:
    analyzer, reader = Analyzer.for_language("en"), CandidateReader()
    text = "The heron waits by the river."
    chunk = make_source(text).chunk
    for title in ("", "Birds", text):
        source = replace(make_source(text), chunk=replace(chunk, title=title))
        assert reader.find([source], analyzer) == find_candidates([source], analyzer.analyze)
