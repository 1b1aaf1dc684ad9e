"""Answers that outlive a broken connection: a real server, a real provider, a connection that a test cuts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from rag.v1 import conversation_service_pb2 as conversation_pb
from rag.v1 import generate_service_pb2 as generate_pb
from rag_server.app import RunningServer, running_server
from tests.conftest import make_settings
from tests.faults.polling import until
from tests.openai_server import OpenAiServer, Stream
from tests.rag_client import RagClient, failure, next_of
from tests.tcp_proxy import TcpProxy

pytestmark = pytest.mark.asyncio(loop_scope="module")

CODE = grpc.StatusCode
COLLECTION = "birds"
HERON = "The grey heron waits by the river at dawn. It eats small fish and frogs."
QUESTION = "When does the grey heron wait by the river?"
TOKENS = ("It waits at ", "dawn [1]. ", "It eats ", "fish [1].")
WHOLE = "It waits at dawn. It eats fish."
LONG_MS = 120_000
CALLERS_AT_ONCE = 100

Event = generate_pb.StreamGenerateResponse


@dataclass
class Rig:
    """A server with a document, reached directly and through a connection that can be cut."""

    running: RunningServer
    client: RagClient
    far: RagClient
    proxy: TcpProxy
    provider: OpenAiServer

    def request(self, window_ms: int = LONG_MS, **fields: Any) -> generate_pb.StreamGenerateRequest:
        return generate_pb.StreamGenerateRequest(
            collection_ids=[COLLECTION], question=QUESTION, resume_window_ms=window_ms, **fields
        )

    def ask(self, client: RagClient | None = None, **fields: Any) -> Any:
        return (client or self.client).generate.StreamGenerate(self.request(**fields), timeout=60)

    async def cut(self, **fields: Any) -> list[Event]:
        """Return the first events, up to the first words; then the connection was cut."""
        call = self.ask(self.far, **fields)
        events = [await next_of(call)]
        while not events[-1].HasField("delta"):
            events.append(await next_of(call))
        self.proxy.drop()
        with suppress(grpc.aio.AioRpcError):
            while (event := await call.read()) is not grpc.aio.EOF:
                events.append(event)
        assert call.done()
        assert not events[-1].HasField("finished")
        return events


@asynccontextmanager
async def running_rig(folder: Path, provider: OpenAiServer) -> AsyncIterator[Rig]:
    models = {
        "providers": {"local": {"base_url": provider.base_url, "attempts": 1}},
        "models": {"small": {"provider": "local", "id": "org/small", "window_tokens": 4096, "permits": 512}},
        "aliases": {"default": {"small": 1.0}},
    }
    made = make_settings(folder, models=models, server={"health_interval_s": 3600.0})
    async with running_server(made) as running, RagClient(running.address) as client:
        host, _, port = running.address.rpartition(":")
        async with TcpProxy(host, int(port)) as proxy, RagClient(f"127.0.0.1:{proxy.port}") as far:
            await client.create_collection(COLLECTION)
            await client.ingest_text(COLLECTION, HERON, "heron.txt")
            yield Rig(running, client, far, proxy, provider)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    async with OpenAiServer() as provider, running_rig(tmp_path_factory.mktemp("server"), provider) as rig:
        yield rig


@pytest.fixture
def rig(shared: Rig) -> Rig:
    """Return the server, with a provider that has seen nothing yet."""
    shared.provider.forget()
    return shared


async def read(call: Any) -> list[Event]:
    events = []
    while (event := await call.read()) is not grpc.aio.EOF:
        events.append(event)
    return events


def text_of(events: list[Event]) -> str:
    return "".join(event.delta.text for event in events)


def kinds_of(events: list[Event]) -> list[str]:
    return [str(event.WhichOneof("event")) for event in events]


async def test_answer_goes_on_where_the_connection_broke(rig: Rig) -> None:
    rig.provider.default = Stream.of(*TOKENS)
    undisturbed = await read(rig.ask())
    gate = asyncio.Event()
    rig.provider.script(Stream.of(*TOKENS, gate=gate))
    first = await rig.cut()
    gate.set()
    rest = await read(rig.ask(resume_cursor=first[-1].cursor))

    assert text_of(first + rest) == text_of(undisturbed) == WHOLE
    assert [kind for kind in kinds_of(first + rest) if kind != "delta"] == [
        kind for kind in kinds_of(undisturbed) if kind != "delta"
    ]
    assert len({event.cursor for event in first + rest}) == len(first + rest)
    assert len(rig.provider.bodies) == 2


async def test_answer_of_a_conversation_is_recorded_though_nobody_reads_it(rig: Rig) -> None:
    created = await rig.client.conversations.CreateConversation(conversation_pb.CreateConversationRequest())
    gate = asyncio.Event()
    rig.provider.script(Stream.of(*TOKENS, gate=gate))
    first = await rig.cut(conversation_id=created.conversation.id)
    busy = await failure(rig.ask(conversation_id=created.conversation.id))
    gate.set()
    rest = await read(rig.ask(conversation_id=created.conversation.id, resume_cursor=first[-1].cursor))
    listed = await rig.client.conversations.ListMessages(
        conversation_pb.ListMessagesRequest(conversation_id=created.conversation.id)
    )

    assert busy.reason == "CONVERSATION_BUSY"
    assert rest[-1].HasField("finished")
    assert [message.text for message in listed.messages] == [QUESTION, WHOLE]


async def test_answer_to_which_nobody_comes_back_ends_at_the_provider(rig: Rig) -> None:
    rig.provider.script(Stream.of("It waits at ", hangs=True))
    first = await rig.cut(window_ms=200)
    await asyncio.wait_for(rig.provider.abandoned.wait(), 60)
    failed = await failure(rig.ask(window_ms=200, resume_cursor=first[-1].cursor))
    assert (failed.code, failed.reason) == (CODE.NOT_FOUND, "STREAM_NOT_RESUMABLE")


async def test_second_reader_takes_over_and_the_first_is_told(rig: Rig) -> None:
    gate = asyncio.Event()
    rig.provider.script(Stream.of(*TOKENS, gate=gate))
    older = rig.ask()
    events = [await next_of(older)]
    newer = rig.ask(resume_cursor=events[0].cursor)
    failed = await failure(older)
    gate.set()
    rest = await read(newer)

    assert (failed.code, failed.reason) == (CODE.ABORTED, "STREAM_TAKEN_OVER")
    assert failed.retry_after_s is None
    assert text_of(rest) == WHOLE
    assert kinds_of(rest)[0] == "retrieved"


async def test_cursor_is_for_the_request_that_it_was_sent_for(rig: Rig) -> None:
    first, *_ = await read(rig.ask())
    other = await failure(rig.ask(resume_cursor=first.cursor, assistant="auto"))
    made_up = await failure(rig.ask(resume_cursor="x" * 22 + ".1"))
    assert (other.code, other.reason) == (CODE.INVALID_ARGUMENT, "INVALID_RESUME_CURSOR")
    assert list(other.violations) == ["resume_cursor"]
    assert (made_up.code, made_up.reason) == (CODE.NOT_FOUND, "STREAM_NOT_RESUMABLE")


def server_tasks(rig: Rig) -> int:
    """Return how many tasks there are that are not the provider's."""
    return len(asyncio.all_tasks()) - rig.provider.open_count


async def test_500_callers_who_leave_at_random_leave_nothing_behind(rig: Rig) -> None:
    """L2."""
    await read(rig.ask())  # whatever is made with the first answer is there
    tasks_before, permits = server_tasks(rig), asyncio.Semaphore(CALLERS_AT_ONCE)
    rig.provider.default = Stream.of("It waits at ", hangs=True)
    draw = random.Random(5)  # noqa: S311 - no secret
    seen: list[str] = []

    async def leave_early(event_count: int) -> None:
        async with permits:
            call = rig.ask(window_ms=100)
            seen.extend(kinds_of([await next_of(call) for _ in range(event_count)]))
            call.cancel()

    await asyncio.gather(*(leave_early(draw.choice((0, 0, 1, 2, 3))) for _ in range(500)))
    assert {"started", "retrieved", "delta"} == set(seen)
    await until(lambda: rig.provider.running == 0)
    await until(lambda: server_tasks(rig) <= tasks_before)
    rig.provider.default = Stream.of(*TOKENS)
    answer = await read(rig.ask())
    assert text_of(answer) == WHOLE
    assert all(event.cursor for event in answer)  # there is room to keep it


async def test_server_that_stops_does_not_wait_for_callers_that_left(tmp_path: Path) -> None:
    async with OpenAiServer() as provider:
        async with running_rig(tmp_path, provider) as rig:
            provider.script(Stream.of("It waits at ", hangs=True))
            await rig.cut()
            assert not provider.abandoned.is_set()
        await asyncio.wait_for(provider.abandoned.wait(), 60)
