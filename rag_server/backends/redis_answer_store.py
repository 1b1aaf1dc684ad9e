"""Answers kept in Redis, which all servers share, and none depends on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from rag_server.backends.breaker import Breaker, Suspended
from rag_server.errors import Unavailable

T = TypeVar("T")

MAX_VALUE_BYTES: Final = 1024 * 1024
"""A larger answer is written again rather than kept: it would take the place of many."""


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """How to reach Redis. Times are in seconds."""

    url: str
    """`redis://` or `rediss://`, with user, password and number of the database as far as there are any."""
    prefix: str = "rag"
    """What all keys begin with: deployments that share a database differ by it."""
    timeout_s: float = 0.25
    """For one value, connection included: who waits longer might as well ask the model."""
    max_connections: int = 16
    breaker_failures: int = 3
    breaker_open_s: float = 10.0
    """How long Redis is not asked after so many failures in a row; then one request tries."""


class RedisAnswerStore:
    """An `AnswerStore` in Redis, whose own limit of memory decides which answers go before their time.

    Example:
        store = RedisAnswerStore(RedisOptions("redis://127.0.0.1:6379/0"), ttl_s=3600)
        await store.put("acme", "key", b"answer")
        await store.close()

    Nothing is asked of Redis before the first call, so that a server starts without it.
    """

    def __init__(self, options: RedisOptions, ttl_s: float) -> None:
        """Keep answers for `ttl_s` seconds. Raises `ValueError` for what is no address of Redis."""
        self._prefix = options.prefix
        self._ttl_ms = max(1, round(ttl_s * 1000))
        self._timeout_s = options.timeout_s
        pool = BlockingConnectionPool.from_url(
            options.url,
            max_connections=options.max_connections,
            timeout=options.timeout_s,
            socket_timeout=options.timeout_s,
            socket_connect_timeout=options.timeout_s,
            retry=Retry(NoBackoff(), 0),  # the breaker's, over all callers
        )
        self._redis = Redis(connection_pool=pool)
        self._commands: set[asyncio.Future[Any]] = set()
        self._breaker = Breaker("answers", failures=options.breaker_failures, open_s=options.breaker_open_s)

    async def get(self, tenant_id: str, key: str) -> bytes | None:
        name = self._name(tenant_id, key)
        found = cast("bytes | None", await self._asked(lambda: self._redis.get(name)))
        if found is None or not found.startswith(name):  # whatever went wrong on the way: not another's
            return None
        return found[len(name) :]

    async def put(self, tenant_id: str, key: str, value: bytes) -> None:
        if len(value) <= MAX_VALUE_BYTES:
            name = self._name(tenant_id, key)
            await self._asked(lambda: self._redis.set(name, name + value, px=self._ttl_ms))

    async def check(self) -> None:
        """Raise `Unavailable` (`ANSWER_STORE_UNAVAILABLE`) unless Redis answers."""
        await self._asked(self._redis.ping)

    async def close(self) -> None:
        """Close all connections."""
        if self._commands:
            await asyncio.wait(self._commands)
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    def _name(self, tenant_id: str, key: str) -> bytes:
        """Return the key in Redis, which no other tenant and key have. Its value begins with it."""
        return f"{self._prefix}:answer:{len(tenant_id)}:{tenant_id}:{key}\n".encode()

    async def _asked(self, command: Callable[[], Awaitable[T]]) -> T:
        """Return what Redis answers.

        Raises:
            Unavailable: `ANSWER_STORE_UNAVAILABLE`.
        """
        try:
            passage = self._breaker.enter()
        except Suspended as suspended:
            raise _unavailable(suspended.wait_s) from None
        # Waited for, but not cancelled: it ends by its own limits, and no connection is left with half an
        # answer on it, which the next one would read.
        task = asyncio.ensure_future(command())
        self._commands.add(task)
        task.add_done_callback(self._ended)
        try:
            await asyncio.wait([task], timeout=self._timeout_s)
        except asyncio.CancelledError:
            passage.left()
            raise
        failure = task.exception() if task.done() else TimeoutError()
        if failure is None:
            passage.succeeded()
            return task.result()
        if not isinstance(failure, (RedisError, OSError, TimeoutError)):
            passage.left()
            raise failure
        passage.failed(failure)
        raise _unavailable(1.0) from None

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self._commands.discard(task)
        if not task.cancelled():
            task.exception()  # seen; who still waits is told


def _unavailable(wait_s: float) -> Unavailable:
    return Unavailable(
        "ANSWER_STORE_UNAVAILABLE",
        "Redis, where answers are kept, does not answer: whoever runs the server has to look at "
        "RAG_ANSWERS__CACHE_URL",
        retry_after_s=wait_s,
    )
