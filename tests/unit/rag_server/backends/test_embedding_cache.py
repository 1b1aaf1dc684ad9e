"""`EmbeddingCache` over the stand-in embedder: conformance, and what is its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from rag_server.backends.embedding_cache import EmbeddingCache
from rag_server.backends.protocols import Embeddings
from rag_server.domain.priority import Priority
from rag_server.errors import Unavailable
from rag_server.testing.embedder_suite import EmbedderSuite
from rag_server.testing.fakes import HashEmbedder


class TestEmbeddingCache(EmbedderSuite):
    @pytest.fixture
    async def embedder(self) -> EmbeddingCache:
        return EmbeddingCache(HashEmbedder(window_tokens=34))


class HeldEmbedder(HashEmbedder):
    """Counts its calls; each waits for `release`, then fails where `error` is set."""

    def __init__(self) -> None:
        super().__init__(dimension=64)
        self.calls: list[list[str]] = []
        self.cancelled = 0
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.error: Exception | None = None

    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.INTERACTIVE) -> Embeddings:
        self.calls.append(list(texts))
        self.started.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return await super().embed(texts, priority=priority)


@pytest.fixture
async def inner() -> HeldEmbedder:
    return HeldEmbedder()


@pytest.fixture
async def cache(inner: HeldEmbedder) -> EmbeddingCache:
    return EmbeddingCache(inner)


async def test_embed_repeated_query_is_embedded_once(inner: HeldEmbedder, cache: EmbeddingCache) -> None:
    inner.release.set()
    first, second = await cache.embed(["a river"]), await cache.embed(["a river"])
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, await HashEmbedder().embed(["a river"]))
    assert inner.calls == [["a river"]]
    figures = cache.figures()
    assert (figures.hit_count, figures.miss_count, figures.entry_count) == (1, 1, 1)


async def test_embed_several_texts_or_bulk_goes_past_the_cache(
    inner: HeldEmbedder, cache: EmbeddingCache
) -> None:
    inner.release.set()
    for _ in range(2):
        await cache.embed(["a", "b"])
        await cache.embed(["a"], priority=Priority.BULK)
    assert len(inner.calls) == 4
    figures = cache.figures()
    assert (figures.hit_count, figures.miss_count, figures.entry_count) == (0, 0, 0)


async def test_embed_result_cannot_be_written_to(inner: HeldEmbedder, cache: EmbeddingCache) -> None:
    inner.release.set()
    vectors = await cache.embed(["a"])
    with pytest.raises(ValueError, match="read-only"):
        vectors[0, 0] = 1
    assert vectors.base is None


async def test_embed_equal_texts_at_once_are_embedded_once(
    inner: HeldEmbedder, cache: EmbeddingCache
) -> None:
    tasks = [asyncio.create_task(cache.embed([text])) for text in ("a", "a", "b", "a")]
    await inner.started.wait()
    inner.release.set()
    rows = np.concatenate(await asyncio.gather(*tasks))
    np.testing.assert_array_equal(rows, await HashEmbedder().embed(["a", "a", "b", "a"]))
    assert sorted(inner.calls) == [["a"], ["b"]]
    assert (cache.figures().hit_count, cache.figures().miss_count) == (2, 2)


@pytest.mark.parametrize("leaving", [0, 1])
async def test_embed_cancelled_caller_leaves_the_others_their_result(
    inner: HeldEmbedder, cache: EmbeddingCache, leaving: int
) -> None:
    tasks = [asyncio.create_task(cache.embed(["a"])) for _ in range(3)]
    await inner.started.wait()
    tasks[leaving].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks.pop(leaving)
    inner.release.set()
    for task in tasks:
        assert (await task).shape == (1, 64)
    assert (inner.calls, inner.cancelled) == ([["a"]], 0)


async def test_embed_cancelled_by_all_callers_stops_the_work_and_the_next_starts_anew(
    inner: HeldEmbedder, cache: EmbeddingCache
) -> None:
    tasks = [asyncio.create_task(cache.embed(["a"])) for _ in range(2)]
    await inner.started.wait()
    for task in tasks:
        task.cancel()
    later = asyncio.create_task(cache.embed(["a"]))
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 2
    inner.release.set()
    assert (await later).shape == (1, 64)
    assert (await cache.embed(["a"])).shape == (1, 64)
    assert inner.calls == [["a"]] * (1 + inner.cancelled)
    assert cache.figures().entry_count == 1


async def test_embed_last_caller_cancelled_stops_the_work(inner: HeldEmbedder, cache: EmbeddingCache) -> None:
    task = asyncio.create_task(cache.embed(["a"]))
    await inner.started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    inner.release.set()
    assert (await cache.embed(["a"])).shape == (1, 64)
    assert inner.cancelled == 1
    assert inner.calls == [["a"], ["a"]]


async def test_embed_failure_reaches_all_that_wait_and_is_not_kept(
    inner: HeldEmbedder, cache: EmbeddingCache
) -> None:
    inner.error = Unavailable("EMBEDDER_UNAVAILABLE", "down")
    tasks = [asyncio.create_task(cache.embed(["a"])) for _ in range(2)]
    await inner.started.wait()
    inner.release.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 2
    inner.error = None
    assert (await cache.embed(["a"])).shape == (1, 64)
    assert (await cache.embed(["a"])).shape == (1, 64)
    assert inner.calls == [["a"], ["a"]]


async def test_embed_beyond_the_byte_budget_forgets_the_least_recently_used(inner: HeldEmbedder) -> None:
    inner.release.set()
    roomy = EmbeddingCache(inner)
    await roomy.embed(["a"])
    size = roomy.figures().size_bytes
    assert size > 64 * 4
    cache = EmbeddingCache(inner, max_bytes=2 * size)
    for text in ("a", "b", "a", "c"):
        await cache.embed([text])
    figures = cache.figures()
    assert (figures.entry_count, figures.size_bytes, figures.limit_bytes) == (2, 2 * size, 2 * size)
    inner.calls.clear()
    for text in ("a", "c", "b"):
        await cache.embed([text])
    assert inner.calls == [["b"]]


async def test_embed_text_larger_than_the_cache_is_answered_and_not_kept(inner: HeldEmbedder) -> None:
    inner.release.set()
    cache = EmbeddingCache(inner, max_bytes=1000)
    await cache.embed(["a"])
    await cache.embed(["long " * 1000])
    assert cache.figures().entry_count == 1
    nothing = EmbeddingCache(inner, max_bytes=0)
    assert (await nothing.embed(["a"])).shape == (1, 64)
    assert nothing.figures().entry_count == 0


async def test_close_then_a_remembered_text_raises_unavailable(
    inner: HeldEmbedder, cache: EmbeddingCache
) -> None:
    inner.release.set()
    await cache.embed(["a"])
    await cache.close()
    with pytest.raises(Unavailable):
        await cache.embed(["a"])
