from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from rag_server.backends.protocols import Embeddings
from rag_server.backends.sentence_cache import SentenceCache
from rag_server.domain.priority import Priority
from rag_server.errors import Unavailable
from rag_server.testing.fakes import HashEmbedder

PLENTY = 2**20


class Counting(HashEmbedder):
    """Keeps what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[str]] = []
        self.is_down = False

    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.INTERACTIVE) -> Embeddings:
        self.asked.append(list(texts))
        if self.is_down:
            raise Unavailable("EMBEDDER_UNAVAILABLE", "down")
        return await super().embed(texts, priority=priority)


async def test_sentence_is_embedded_once_and_has_the_same_vector() -> None:
    embedder = Counting()
    cache = SentenceCache(embedder, max_bytes=PLENTY)
    await cache.embed(["a heron", "a river"])
    vectors = await cache.embed(["a river", "a boat", "a heron", "a boat"])
    assert embedder.asked == [["a heron", "a river"], ["a boat"]]
    expected = await HashEmbedder().embed(["a river", "a boat", "a heron", "a boat"])
    np.testing.assert_array_equal(vectors, expected)
    figures = cache.figures()
    assert (figures.entry_count, figures.hit_count, figures.miss_count) == (3, 2, 3)
    assert 0 < figures.size_bytes < figures.limit_bytes


async def test_single_text_and_none_are_passed_on() -> None:
    embedder = Counting()
    cache = SentenceCache(embedder, max_bytes=PLENTY)
    for _ in range(2):
        await cache.embed(["why?"])
    assert (await cache.embed([])).shape == (0, 64)
    assert embedder.asked == [["why?"], ["why?"], []]
    assert (cache.model, cache.tokenizer) == (embedder.model, embedder.tokenizer)


async def test_cache_stays_within_its_bytes() -> None:
    embedder = Counting()
    cache = SentenceCache(embedder, max_bytes=2000)
    for number in range(20):
        await cache.embed([f"sentence {number}", f"other {number}"])
    assert 0 < cache.figures().size_bytes <= 2000
    empty = SentenceCache(embedder, max_bytes=0)
    await empty.embed(["a", "b"])
    assert empty.figures().entry_count == 0


async def test_failure_is_not_remembered() -> None:
    embedder = Counting()
    cache = SentenceCache(embedder, max_bytes=PLENTY)
    embedder.is_down = True
    with pytest.raises(Unavailable):
        await cache.embed(["a", "b"])
    embedder.is_down = False
    assert (await cache.embed(["a", "b"])).shape == (2, 64)


async def test_vectors_that_a_caller_changes_stay_as_they_are_in_the_cache() -> None:
    cache = SentenceCache(HashEmbedder(), max_bytes=PLENTY)
    first = await cache.embed(["a", "b"])
    before = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(await cache.embed(["a", "b"]), before)


async def test_close_forgets_and_leaves_the_wrapped_one_open() -> None:
    embedder = Counting()
    cache = SentenceCache(embedder, max_bytes=PLENTY)
    await cache.embed(["a", "b"])
    await cache.close()
    await cache.embed(["a", "b"])
    assert len(embedder.asked) == 2
