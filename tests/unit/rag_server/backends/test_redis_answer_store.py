"""Answers in Redis: a real one, and what stands in its place when it is not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
from redis.asyncio import Redis

from rag_server.backends.redis_answer_store import MAX_VALUE_BYTES, RedisAnswerStore, RedisOptions
from rag_server.errors import Unavailable
from rag_server.testing.answer_store_suite import AnswerStoreSuite
from tests.caches import REDIS_URL, own_keys
from tests.unit.rag_server.backends.breaker_clock import BreakerClock

PATIENT_S = 30.0
"""For a Redis that answers, on a machine that may be busy."""

Open = Callable[..., RedisAnswerStore]


@pytest.fixture
async def open_store() -> AsyncIterator[Open]:
    """Return a function that makes a store; options are those of `RedisOptions`."""
    async with AsyncExitStack() as stack:

        def make(url: str = REDIS_URL, *, ttl_s: float = 60.0, **options: Any) -> RedisAnswerStore:
            given = {"timeout_s": PATIENT_S, **options}
            store = RedisAnswerStore(RedisOptions(url, **given), ttl_s)
            stack.push_async_callback(store.close)
            return store

        yield make


@pytest.fixture
async def keys() -> AsyncIterator[tuple[str, Redis]]:
    async with own_keys() as given:
        yield given


class TestRedisAnswerStore(AnswerStoreSuite):
    @pytest.fixture
    def store(self, open_store: Open, keys: tuple[str, Redis]) -> RedisAnswerStore:
        return open_store(prefix=keys[0])


async def kept(keys: tuple[str, Redis]) -> list[bytes]:
    prefix, redis = keys
    return [each async for each in redis.scan_iter(f"{prefix}:*", count=1000)]


async def test_value_is_there_for_other_servers_and_not_for_other_deployments(
    open_store: Open, keys: tuple[str, Redis]
) -> None:
    await open_store(prefix=keys[0]).put("acme", "key", b"value")
    assert await open_store(prefix=keys[0]).get("acme", "key") == b"value"
    assert await open_store(prefix=f"{keys[0]}-2").get("acme", "key") is None


async def test_value_goes_when_its_time_is_over(open_store: Open, keys: tuple[str, Redis]) -> None:
    await open_store(prefix=keys[0], ttl_s=3600.0).put("acme", "key", b"value")
    (key,) = await kept(keys)
    assert 0 < await keys[1].pttl(key) <= 3_600_000


async def test_value_that_is_too_large_is_not_kept(open_store: Open, keys: tuple[str, Redis]) -> None:
    store = open_store(prefix=keys[0])
    await store.put("acme", "large", b"x" * (MAX_VALUE_BYTES + 1))
    await store.put("acme", "largest", b"x" * MAX_VALUE_BYTES)
    assert await store.get("acme", "large") is None
    assert len(await store.get("acme", "largest") or b"") == MAX_VALUE_BYTES


async def test_key_that_holds_something_else_is_an_error_of_ours(
    open_store: Open, keys: tuple[str, Redis]
) -> None:
    store = open_store(prefix=keys[0])
    await store.put("acme", "key", b"value")
    (key,) = await kept(keys)
    await keys[1].delete(key)
    await keys[1].rpush(key, "list")
    with pytest.raises(Unavailable) as caught:
        await store.get("acme", "key")
    assert caught.value.reason == "ANSWER_STORE_UNAVAILABLE"


async def test_value_of_another_key_is_not_taken_for_that_of_this_one(
    open_store: Open, keys: tuple[str, Redis]
) -> None:
    store = open_store(prefix=keys[0])
    await store.put("acme", "key", b"secret")
    (theirs,) = await kept(keys)
    await store.put("other", "key", b"own")
    (ours,) = [each for each in await kept(keys) if each != theirs]
    await keys[1].set(ours, await keys[1].get(theirs))
    assert await store.get("other", "key") is None
    assert await store.get("acme", "key") == b"secret"


async def test_caller_who_leaves_keeps_others_from_nothing(open_store: Open, keys: tuple[str, Redis]) -> None:
    store = open_store(prefix=keys[0], max_connections=2)
    for number in range(8):
        await store.put("acme", f"{number}", b"%d" % number)
    for turns in range(12):
        leaving = [asyncio.create_task(store.get("acme", f"{number}")) for number in range(8)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in leaving:
            task.cancel()
        found = await asyncio.gather(*(store.get("acme", f"{number}") for number in range(8)))
        assert found == [b"%d" % number for number in range(8)]
        await asyncio.gather(*leaving, return_exceptions=True)


async def test_callers_beyond_the_connections_wait_for_one(open_store: Open, keys: tuple[str, Redis]) -> None:
    store = open_store(prefix=keys[0], max_connections=2)
    await asyncio.gather(*(store.put("acme", f"{number}", b"%d" % number) for number in range(40)))
    found = await asyncio.gather(*(store.get("acme", f"{number}") for number in range(40)))
    assert found == [b"%d" % number for number in range(40)]


async def test_check_asks_redis(open_store: Open) -> None:
    await open_store().check()


class Silent:
    """Takes connections, and says nothing on them."""

    def __init__(self) -> None:
        self.connection_count = 0
        self.reached = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Silent:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def url(self) -> str:
        return f"redis://:hunter2@127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connection_count += 1
        self.reached.set()
        with suppress(asyncio.CancelledError):
            await reader.read()
        writer.close()


async def refused(store: RedisAnswerStore) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        await store.get("acme", "key")
    error = caught.value
    assert error.reason == "ANSWER_STORE_UNAVAILABLE"
    assert "hunter2" not in f"{error.message} {error.metadata}"
    assert error.__suppress_context__
    return error


async def test_redis_that_is_not_there_is_an_error_of_ours(open_store: Open) -> None:
    async with Silent() as silent:
        url = silent.url
    store = open_store(url)
    await refused(store)
    with pytest.raises(Unavailable):
        await store.put("acme", "key", b"value")
    with pytest.raises(Unavailable):
        await store.check()


async def test_redis_that_hangs_is_waited_for_a_few_times_then_not_asked_for_a_while(
    open_store: Open, breaker_clock: BreakerClock
) -> None:
    async with Silent() as silent:
        store = open_store(silent.url, timeout_s=0.05, breaker_failures=2, breaker_open_s=10.0)
        for _ in range(2):
            await refused(store)
        before = silent.connection_count
        assert (await refused(store)).retry_after_s == 10.0
        assert silent.connection_count == before, "it was not asked"
        breaker_clock.now += 11
        assert (await refused(store)).retry_after_s == 1.0, "it was tried once more"
        assert (await refused(store)).retry_after_s == 10.0


async def test_caller_who_leaves_does_not_count_against_redis(open_store: Open) -> None:
    async with Silent() as silent:
        store = open_store(silent.url, timeout_s=5.0, breaker_failures=1)
        for _ in range(2):  # the second one is let through as well
            silent.reached.clear()
            task = asyncio.create_task(store.get("acme", "key"))
            await silent.reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


@pytest.mark.parametrize("url", ["http://127.0.0.1", ""])
def test_what_is_no_address_of_redis_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="redis://"):
        RedisAnswerStore(RedisOptions(url), 60.0)
