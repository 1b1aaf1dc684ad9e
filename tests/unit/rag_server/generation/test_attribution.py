from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from rag_server.backends.protocols import Embeddings
from rag_server.domain.document import Span
from rag_server.domain.priority import Priority
from rag_server.errors import ResourceExhausted, Unavailable
from rag_server.generation.attribution import MIN_SIMILARITY, Attributor, SourceSentences
from rag_server.testing.fakes import HashEmbedder
from rag_server.testing.generator_suite import SOURCES, source
from rag_server.text.analyzer import Analyzer

ALL = frozenset({0, 1})


def sentences(offered: frozenset[int] = ALL) -> SourceSentences:
    return SourceSentences(SOURCES, offered, Analyzer.for_language("en").analyze)


def test_sentence_of_a_source_is_the_one_with_most_of_the_words() -> None:
    found = sentences().within("It eats fish, and frogs as well.", 0)
    assert found.text == "It eats small fish and frogs."
    assert SOURCES[0].chunk.text[found.span.start : found.span.end] == found.text


def test_source_without_any_of_the_words_is_cited_as_a_whole() -> None:
    found = sentences().within("Something else entirely.", 1)
    assert (found.span, found.text) == (Span(0, len(SOURCES[1].chunk.text)), SOURCES[1].chunk.text)


@pytest.mark.parametrize("text", ["Yes.", "So it is.", "Heron."])
def test_sentence_of_few_words_is_like_none(text: str) -> None:
    assert sentences().alike(text) == []


def test_sentences_of_sources_that_were_not_offered_are_not_looked_at() -> None:
    text = "Rye bread needs a long fermentation."
    assert sentences().alike(text)[0].source_index == 1
    assert sentences(frozenset({0})).alike(text) == []


async def test_support_is_found_by_words_and_meaning() -> None:
    attributor = Attributor(HashEmbedder())
    known = await attributor.read(SOURCES, ALL, "en")
    found = await attributor.support(known, "Rye bread needs a long fermentation.")
    assert found is not None
    assert (found.source_index, found.text) == (1, "Rye bread needs a long fermentation.")
    assert found.similarity == pytest.approx(1.0, abs=1e-4)
    assert await attributor.support(known, "Unicorns need a long holiday in castles.") is None


async def test_support_below_the_least_similarity_is_none() -> None:
    class Opposite(HashEmbedder):
        async def embed(
            self, texts: Sequence[str], *, priority: Priority = Priority.INTERACTIVE
        ) -> Embeddings:
            vectors = await super().embed(texts, priority=priority)
            vectors[1:] *= -1
            return vectors

    attributor = Attributor(Opposite())
    known = await attributor.read(SOURCES, ALL, "en")
    assert MIN_SIMILARITY > 0
    assert await attributor.support(known, "Rye bread needs a long fermentation.") is None


async def test_sentence_with_few_words_in_common_is_not_embedded() -> None:
    asked: list[str] = []

    class Recording(HashEmbedder):
        async def embed(
            self, texts: Sequence[str], *, priority: Priority = Priority.INTERACTIVE
        ) -> Embeddings:
            asked.extend(texts)
            return await super().embed(texts, priority=priority)

    attributor = Attributor(Recording())
    known = await attributor.read(SOURCES, ALL, "en")
    strange = "Unicorns need magnificent castles, gardens, musicians, carpets and a long holiday."
    assert await attributor.support(known, strange) is None
    assert asked == []
    assert await attributor.support(known, "Rye bread needs a long fermentation.") is not None
    assert asked[0] == "Rye bread needs a long fermentation."


@pytest.mark.parametrize("error", [Unavailable("EMBEDDER_UNAVAILABLE", "x"), ResourceExhausted("X", "x")])
async def test_embedder_that_cannot_answer_leaves_the_sentence_without_support(error: Exception) -> None:
    class Down(HashEmbedder):
        async def embed(
            self, texts: Sequence[str], *, priority: Priority = Priority.INTERACTIVE
        ) -> Embeddings:
            raise error

    attributor = Attributor(Down())
    known = await attributor.read(SOURCES, ALL, "en")
    assert await attributor.support(known, "Rye bread needs a long fermentation.") is None


async def test_sources_in_an_unknown_language_are_read_too() -> None:
    attributor = Attributor(HashEmbedder())
    known = await attributor.read([source("Der Reiher wartet am Fluss.")], frozenset({0}), "")
    assert known.within("Reiher am Fluss", 0).text == "Der Reiher wartet am Fluss."


@pytest.mark.parametrize("source_index", [0, None])
async def test_only_long_sentences_change_threads(source_index: int | None) -> None:
    threads: list[int] = []
    analyze = Analyzer.for_language("en").analyze

    def recording(text: str) -> list[str]:
        threads.append(threading.get_ident())
        return analyze(text)

    known = SourceSentences(SOURCES, ALL, recording)
    attributor = Attributor(HashEmbedder())

    async def is_here(text: str) -> bool:
        threads.clear()
        if source_index is None:
            await attributor.support(known, text)
        else:
            await attributor.support_within(known, text, source_index)
        return set(threads) == {threading.get_ident()}

    assert await is_here("Unicorns need a long holiday in castles.")
    assert not await is_here("Unicorns need a long holiday in castles. " * 50)


def test_sentences_that_share_as_much_come_in_the_order_of_their_sources() -> None:
    twice = [source("Rye bread needs time. Rye bread needs heat."), source("Rye bread needs space.")]
    known = SourceSentences(twice, ALL, Analyzer.for_language("en").analyze)
    alike = known.alike("Rye bread is what one needs.")
    assert [(each.source_index, each.text) for each in alike] == [
        (0, "Rye bread needs time."),
        (0, "Rye bread needs heat."),
        (1, "Rye bread needs space."),
    ]
