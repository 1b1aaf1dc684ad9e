"""A provider with OpenAI's interface on loopback, whose answers a test writes: real HTTP, real streams.

    async with OpenAiServer() as server:
        server.script(Stream("Hello ", "world."))
        ...  # a client of `server.base_url`
        assert server.bodies[0]["stream"]

Each request takes the next behaviour of the script; without any it gets `default`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

HEADERS_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Stream:
    """Tokens, then the reason, the usage and the end, as far as the others do not say otherwise."""

    tokens: tuple[str, ...] = ()
    reason: str | None = "stop"
    usage: tuple[int, int] | None = (11, 7)
    is_done: bool = True
    """Whether `[DONE]` comes, and the end of the body."""
    hangs: bool = False
    """Sends nothing more, and waits for the client to leave."""
    raw: bytes = b""
    """Sent after the tokens, as it is."""
    gate: asyncio.Event | None = None
    """Waited for after the first token."""

    @classmethod
    def of(cls, *tokens: str, **others: Any) -> Self:
        return cls(tokens, **others)


@dataclass(frozen=True)
class Status:
    """A response that is no stream."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b'{"error": {"message": "hunter2 is wrong, says the provider"}}'


@dataclass(frozen=True)
class Hang:
    """No response at all."""


@dataclass(frozen=True)
class Drop:
    """The connection is closed instead of a response."""


Behaviour = Stream | Status | Hang | Drop


class OpenAiServer:
    """The provider."""

    def __init__(self, default: Behaviour | None = None) -> None:
        self.default = default or Stream.of("Yes.")
        self.bodies: list[dict[str, Any]] = []
        """What was asked, request by request."""
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.connection_count = 0
        self.running = 0
        """Requests that have no end yet."""
        self.abandoned = asyncio.Event()
        """A client has left in the middle of a request."""
        self.reached = asyncio.Event()
        """A request hangs."""
        self._script: list[Behaviour] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def script(self, *behaviours: Behaviour) -> None:
        """Have the next requests answered so."""
        self._script += behaviours

    def forget(self) -> None:
        """Be as one that has just begun: for a server that several tests share."""
        self.default = Stream.of("Yes.")
        self._script.clear()
        self.bodies.clear()
        self.abandoned.clear()
        self.reached.clear()

    def next_behaviour(self) -> Behaviour:
        """Return how the request that has just come is answered."""
        return self._script.pop(0) if self._script else self.default

    @property
    def open_count(self) -> int:
        """Connections that are open, each a task of this process: clients keep some for later requests."""
        return len(self._tasks)

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connection_count += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._exchange(reader, writer):
                    pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection stays open."""
        head = (await reader.readuntil(HEADERS_END)).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
        path = first.split(" ")[1]
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.paths.append(path)
        self.headers.append(headers)
        self.running += 1
        try:
            if path.endswith("/models"):
                behaviour: Behaviour = Status(200, body=b'{"data": []}')
                if self._script and isinstance(self._script[0], Status):
                    behaviour = self._script.pop(0)
            else:
                self.bodies.append(json.loads(body))
                behaviour = self.next_behaviour()
            return await self._behave(behaviour, reader, writer)
        finally:
            self.running -= 1

    async def _behave(
        self, behaviour: Behaviour, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        match behaviour:
            case Drop():
                return False
            case Hang():
                await self._wait_for_the_end(reader)
                return False
            case Status(code, headers, body):
                lines = [f"HTTP/1.1 {code} x", f"Content-Length: {len(body)}"]
                lines += [f"{name}: {value}" for name, value in headers.items()]
                writer.write("\r\n".join(lines).encode() + HEADERS_END + body)
                await writer.drain()
                return True
            case Stream():
                return await self._stream(behaviour, reader, writer)

    async def _stream(
        self, stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked" + HEADERS_END
        )
        async for piece in _pieces(stream):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        if stream.hangs:
            await self._wait_for_the_end(reader)
            return False
        if not stream.is_done:
            return False  # in the middle of a chunked body
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _wait_for_the_end(self, reader: asyncio.StreamReader) -> None:
        self.reached.set()
        with suppress(ConnectionError):
            await reader.read()
        self.abandoned.set()


async def _pieces(stream: Stream) -> AsyncIterator[bytes]:
    for index, token in enumerate(stream.tokens):
        if index == 1 and stream.gate is not None:
            await stream.gate.wait()
        yield event({"choices": [{"index": 0, "delta": {"content": token}, "finish_reason": None}]})
    if stream.raw:
        yield stream.raw
    if stream.hangs or not stream.is_done:
        return
    if stream.reason is not None:
        yield event({"choices": [{"index": 0, "delta": {}, "finish_reason": stream.reason}]})
    if stream.usage is not None:
        prompt, answer = stream.usage
        yield event({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": answer}})
    yield b"data: [DONE]\n\n"


def event(message: Mapping[str, Any]) -> bytes:
    """Return a message as an event."""
    return b"data: " + json.dumps(message).encode() + b"\n\n"


@asynccontextmanager
async def openai_server(*behaviours: Behaviour) -> AsyncIterator[OpenAiServer]:
    """Run a provider with a script."""
    async with OpenAiServer() as server:
        server.script(*behaviours)
        yield server


def words(text: str) -> Sequence[str]:
    """Return a text as tokens, which join to it."""
    parts = text.split(" ")
    return [part + " " for part in parts[:-1]] + parts[-1:]
