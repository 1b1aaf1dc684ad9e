from __future__ import annotations

import pytest

from rag_server.backends.memory_answer_store import MemoryAnswerStore
from rag_server.testing.answer_store_suite import AnswerStoreSuite


class TestMemoryAnswerStore(AnswerStoreSuite):
    @pytest.fixture
    def store(self) -> MemoryAnswerStore:
        return MemoryAnswerStore(100_000, 60.0)


async def test_value_that_was_used_least_recently_goes_first() -> None:
    store = MemoryAnswerStore(5000, 60.0)
    for key in "abc":
        await store.put("acme", key, b"x" * 1000)
    await store.get("acme", "a")
    await store.put("acme", "d", b"x" * 1000)
    assert [await store.get("acme", key) is None for key in "abcd"] == [False, True, False, False]


async def test_value_goes_when_its_time_is_over() -> None:
    now = 100.0
    store = MemoryAnswerStore(5000, 60.0, clock=lambda: now)
    await store.put("acme", "key", b"value")
    now += 59
    assert await store.get("acme", "key") == b"value"
    now += 2
    assert await store.get("acme", "key") is None


async def test_value_larger_than_the_store_is_not_kept() -> None:
    store = MemoryAnswerStore(1000, 60.0)
    await store.put("acme", "small", b"x")
    await store.put("acme", "large", b"x" * 1000)
    assert await store.get("acme", "large") is None
    assert await store.get("acme", "small") == b"x"


async def test_figures_tell_what_is_kept_and_what_was_found() -> None:
    store = MemoryAnswerStore(5000, 60.0)
    await store.put("acme", "key", b"value")
    await store.get("acme", "key")
    await store.get("acme", "other")
    figures = store.figures()
    assert (figures.entry_count, figures.hit_count, figures.miss_count) == (1, 1, 1)
    assert 0 < figures.size_bytes <= figures.limit_bytes == 5000
