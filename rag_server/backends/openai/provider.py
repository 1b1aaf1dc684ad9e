"""One provider: a pool of connections, a breaker, and streams of events that can be aborted.

breaker -> send -> status -> first event -> [ the caller reads on ] -> end
   ^------ again, before the first event only ------'
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx
import stamina

from rag_server.backends.openai.breaker import Breaker, Passage, Suspended
from rag_server.backends.openai.completion import DONE
from rag_server.backends.openai.event_stream import EventStream, EventTooLarge
from rag_server.backends.openai.failures import Failures, ProviderFailure
from rag_server.domain.time_limit import TimeLimit

_EVENTS = "text/event-stream"
_JSON = "application/json"
_PATIENCE = 3
"""Where a caller leaves in it, a silence counts after a third of the time that it may last."""
_CHECK_POOL_S = 0.5
"""How long a look at the provider waits for a connection."""
_DRAIN_S = 0.5
"""A provider that has more to send after the end is not waited for."""


@dataclass(frozen=True, slots=True)
class ProviderOptions:
    """How to reach a provider. Times are in seconds."""

    name: str
    base_url: str
    """Up to and with the version: `https://api.openai.com/v1`."""
    api_key: str = ""
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0
    """The longest silence: before the first event, and between two."""
    max_connections: int = 32
    attempts: int = 3
    retry_wait_s: float = 0.5
    """Before the second attempt; doubled each time, with jitter. What the provider asks for goes first."""
    max_retry_wait_s: float = 20.0
    """A provider that asks for more is not asked again in this call."""
    breaker_failures: int = 5
    breaker_open_s: float = 30.0

    @property
    def telling_silence_s(self) -> float:
        """A silence that says something about the provider, even if the caller did not wait for its end.

        Deadlines are shorter than `read_timeout_s` as a rule: a provider that hangs would never be suspended.
        What it takes to get a connection is not the provider's.
        """
        return max(self.read_timeout_s / _PATIENCE, 2 * self.connect_timeout_s)


class Provider:
    """Sends requests to one provider, for all of its models."""

    def __init__(self, options: ProviderOptions, transport: httpx.AsyncBaseTransport | None = None) -> None:
        headers = {"Accept-Encoding": "identity"}  # a compressed stream may grow without bounds
        if options.api_key:
            headers["Authorization"] = f"Bearer {options.api_key}"
        self._options = options
        self._client = httpx.AsyncClient(
            base_url=options.base_url,
            headers=headers,
            timeout=httpx.Timeout(
                options.read_timeout_s, connect=options.connect_timeout_s, pool=options.connect_timeout_s
            ),
            limits=httpx.Limits(
                max_connections=options.max_connections, max_keepalive_connections=options.max_connections
            ),
            follow_redirects=False,
            trust_env=False,  # a .netrc or a proxy of the machine's would see keys and questions
            transport=transport,
        )
        self._breaker = Breaker(
            options.name, failures=options.breaker_failures, open_s=options.breaker_open_s
        )

    @property
    def name(self) -> str:
        """The name in the settings."""
        return self._options.name

    @asynccontextmanager
    async def stream(
        self, body: Mapping[str, Any], failures: Failures, limit: TimeLimit | None
    ) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """Ask for a completion; yields the data of its events, from the first to the one before `[DONE]`.

        Leaving the block aborts the request. Raises the errors of `failures`, here and while reading.
        """
        try:
            exchange = await self._opened(body, failures, limit)
        except ProviderFailure as failure:
            raise failure.error from None
        try:
            async with aclosing(exchange.events()) as events:
                yield events
        except ProviderFailure as failure:
            exchange.note(failure)
            raise failure.error from None
        else:
            exchange.passage.succeeded()
        finally:
            await exchange.close()

    async def check(self, failures: Failures) -> None:
        """Raise a `RagError` unless the provider lists its models; what they are is not read."""
        own = self._options
        timeout = httpx.Timeout(own.read_timeout_s, connect=own.connect_timeout_s, pool=_CHECK_POOL_S)
        try:
            async with self._client.stream("GET", "/models", timeout=timeout) as response:
                status, headers = response.status_code, response.headers
        except httpx.PoolTimeout:
            return  # every connection has an answer on it: it works
        except httpx.HTTPError as error:
            raise failures.of_transport(error, has_begun=False).error from None
        if status != HTTPStatus.OK:
            raise failures.of_status(status, headers).error

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _opened(
        self, body: Mapping[str, Any], failures: Failures, limit: TimeLimit | None
    ) -> _Exchange:
        """Return an exchange whose first event has come, after as many attempts as that takes."""

        def wait(error: Exception) -> bool | float:
            """Return whether, or after how many seconds, to try again."""
            if not isinstance(error, ProviderFailure) or not error.is_transient:
                return False
            wait_s = self._options.retry_wait_s if error.wait_s is None else error.wait_s
            if wait_s > self._options.max_retry_wait_s or (limit is not None and wait_s >= limit.left_s()):
                return False
            return True if error.wait_s is None else wait_s

        attempts = stamina.retry_context(
            on=wait,
            attempts=self._options.attempts,
            timeout=None,  # the call's deadline comes as a cancellation
            wait_initial=self._options.retry_wait_s,
            wait_max=self._options.max_retry_wait_s,
            wait_jitter=self._options.retry_wait_s,
        )
        async for attempt in attempts:
            with attempt:
                return await self._attempt(body, failures)
        raise AssertionError("stamina ends with a result or an exception")

    async def _attempt(self, body: Mapping[str, Any], failures: Failures) -> _Exchange:
        try:
            passage = self._breaker.enter()
        except Suspended as suspended:
            raise failures.suspended(suspended.wait_s) from None
        exchange = _Exchange(passage, failures, self._options.telling_silence_s)
        try:
            await exchange.begin(self._client, body)
        except ProviderFailure as failure:
            exchange.note(failure)
            await exchange.close()
            raise
        except BaseException:
            await exchange.close()
            raise
        return exchange


class _Exchange:
    """One request and the response to it."""

    def __init__(self, passage: Passage, failures: Failures, telling_silence_s: float) -> None:
        self.passage = passage
        self._failures = failures
        self._telling_silence_s = telling_silence_s
        self._waiting_since = time.monotonic()
        self._response: httpx.Response | None = None
        self._events: AsyncGenerator[bytes, None] | None = None
        self._first: bytes | None = None

    async def begin(self, client: httpx.AsyncClient, body: Mapping[str, Any]) -> None:
        """Send the request and wait for the first event. Raises `ProviderFailure`."""
        try:
            request = client.build_request("POST", "/chat/completions", json=body)
            self._response = await client.send(request, stream=True)
        except asyncio.CancelledError:
            self._abandoned()
            raise
        except httpx.HTTPError as error:
            raise self._failures.of_transport(error, has_begun=False) from error
        if self._response.status_code != HTTPStatus.OK:
            raise self._failures.of_status(self._response.status_code, self._response.headers)
        self._events = self._read(self._response)
        self._first = await anext(self._events, None)
        if self._first is None and _type_of(self._response) != _EVENTS:
            raise self._failures.invalid()

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Yield the data of each event. Raises `ProviderFailure`."""
        if self._first is not None and self._events is not None:
            yield self._first
            self.passage.answered()  # and the reader understands it
            async for data in self._events:
                yield data

    def note(self, failure: ProviderFailure) -> None:
        """Tell the breaker of a failure."""
        if failure.is_outage:
            self.passage.failed(failure)
        else:
            self.passage.left()

    async def close(self) -> None:
        """Close the connection, unless the response was read to its end: the provider then stops."""
        # A caller who left after the first event has seen that the provider works.
        if self._first is None:
            self.passage.left()
        else:
            self.passage.succeeded()
        if self._events is not None:
            await self._events.aclose()
        if self._response is not None:
            await self._response.aclose()

    async def _read(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        if _type_of(response) == _JSON or response.headers.get("content-encoding", "identity") != "identity":
            raise self._failures.invalid()
        stream = EventStream()
        try:
            async with aclosing(response.aiter_raw()) as pieces:  # type: ignore[type-var]  # it is a generator
                while (piece := await self._next(pieces)) is not None:
                    for data in stream.feed(piece):
                        if data.strip() == DONE:
                            await _drain(pieces)
                            return
                        yield data
        except httpx.HTTPError as error:
            raise self._failures.of_transport(error, has_begun=True) from error
        except EventTooLarge as error:
            raise self._failures.too_long() from error

    async def _next(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        """Return what the provider sends next; None: that was all."""
        self._waiting_since = time.monotonic()
        try:
            return await anext(pieces, None)
        except asyncio.CancelledError:
            self._abandoned()
            raise

    def _abandoned(self) -> None:
        """Tell the breaker of a caller who has waited long, and leaves."""
        if time.monotonic() - self._waiting_since >= self._telling_silence_s:
            self.note(self._failures.silent())


def _type_of(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    """Read what still belongs to the response, so that its connection can be used again."""
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(_DRAIN_S):
            async for _ in pieces:
                pass
