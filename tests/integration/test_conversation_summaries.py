"""Conversations longer than their window: a real server, real HTTP providers with scripted answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from rag.v1 import conversation_pb2, expansion_pb2, options_pb2
from rag.v1 import conversation_service_pb2 as conversation_pb
from rag.v1 import generate_service_pb2 as generate_pb
from rag_server.app import running_server
from rag_server.interceptors.call import DEFAULT_TENANT
from rag_server.metadata import Database
from tests.conftest import make_settings
from tests.openai_server import OpenAiServer, Status, Stream
from tests.rag_client import RagClient

pytestmark = pytest.mark.asyncio(loop_scope="module")

COLLECTION = "birds"
HERON = "The grey heron waits by the river at dawn. It eats small fish and frogs."
QUESTIONS = ("When does the heron wait?", "Where does the heron wait?", "What does the heron eat?")


@dataclass
class Rig:
    """A server that tells one exchange of a conversation, its provider, and that of what summarises."""

    client: RagClient
    provider: OpenAiServer
    summariser: OpenAiServer
    database: Database

    async def conversation(self) -> str:
        request = conversation_pb.CreateConversationRequest()
        return (await self.client.conversations.CreateConversation(request)).conversation.id

    async def ask(self, conversation_id: str, question: str, model: str = "") -> conversation_pb2.Turn:
        request = generate_pb.GenerateRequest(
            collection_ids=[COLLECTION],
            question=question,
            conversation_id=conversation_id,
            generation=options_pb2.GenerationOptions(
                max_answer_tokens=64, model=model, rewriting=expansion_pb2.QuestionRewriting(none={})
            ),
        )
        return (await self.client.generate.Generate(request, timeout=120)).turn

    async def summarised(self, conversation_id: str, text: str) -> None:
        """Wait until the summary is `text`."""
        found = None
        async with asyncio.timeout(120):
            while found != text:
                await asyncio.sleep(0.02)
                async with self.database.snapshot() as tx:
                    found = (await tx.summaries.get(DEFAULT_TENANT, conversation_id)).text


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """Run one server for all tests of this module."""
    folder: Path = tmp_path_factory.mktemp("server")
    async with OpenAiServer(Stream.of("At dawn [1].")) as provider, OpenAiServer() as summariser:
        model = {"provider": "local", "id": "org/small", "window_tokens": 4096}
        models = {
            "providers": {
                "local": {"base_url": provider.base_url, "attempts": 1},
                "other": {"base_url": summariser.base_url, "attempts": 1},
            },
            "models": {"small": model, "summariser": {**model, "provider": "other"}},
            "aliases": {"default": {"small": 1.0}},
        }
        made = make_settings(
            folder,
            models=models,
            conversations={"summary_model": "summariser", "history_messages": 2},
            server={"health_interval_s": 3600.0},
        )
        async with running_server(made) as running, RagClient(running.address) as client:
            await client.create_collection(COLLECTION)
            await client.ingest_text(COLLECTION, HERON, "heron")
            database = await Database.open(f"sqlite+aiosqlite:///{folder / 'data' / 'metadata.db'}")
            try:
                yield Rig(client, provider, summariser, database)
            finally:
                await database.close()


@pytest_asyncio.fixture(loop_scope="module")
async def rig(shared: Rig) -> Rig:
    """Return the server with providers that remember nothing of other tests."""
    for provider in (shared.provider, shared.summariser):
        provider.bodies.clear()
    return shared


async def test_next_prompt_has_the_summary_of_what_fell_out_of_the_window(rig: Rig) -> None:
    conversation_id = await rig.conversation()
    rig.summariser.script(Stream.of("The heron ", "waits at dawn."))
    for question in QUESTIONS[:2]:
        turn = await rig.ask(conversation_id, question)
        assert turn.summarised_message_count == 0
    await rig.summarised(conversation_id, "The heron waits at dawn.")
    (task,) = rig.summariser.bodies
    told = task["messages"][1]["content"]
    assert told == f"<conversation>\nUser: {QUESTIONS[0]}\nAssistant: At dawn.\n</conversation>"

    turn = await rig.ask(conversation_id, QUESTIONS[2])
    assert (turn.history_message_count, turn.summarised_message_count) == (2, 2)
    assert turn.history_left_out_count == 0
    _, first, second, last = rig.provider.bodies[-1]["messages"]
    assert first["role"] == "user"
    assert "\nThe heron waits at dawn.\n" in first["content"]
    assert first["content"].endswith(f"\n\n{QUESTIONS[1]}")
    assert (second["role"], second["content"]) == ("assistant", "At dawn.")
    assert last["content"].endswith(QUESTIONS[2])
    await rig.summarised(conversation_id, "Yes.")


async def test_summary_goes_on_with_the_conversation_and_quotes_take_no_notice(rig: Rig) -> None:
    conversation_id = await rig.conversation()
    rig.summariser.script(Stream.of("Summary 1."), Stream.of("Summary 2."), Stream.of("Summary 3."))
    await rig.ask(conversation_id, QUESTIONS[0])
    for number in (1, 2):
        await rig.ask(conversation_id, QUESTIONS[number])
        await rig.summarised(conversation_id, f"Summary {number}.")
    assert "Summary so far: Summary 1." in rig.summariser.bodies[-1]["messages"][1]["content"]
    turn = await rig.ask(conversation_id, "Who eats?", "extractive")
    await rig.summarised(conversation_id, "Summary 3.")
    assert (turn.history_message_count, turn.summarised_message_count) == (2, 0)
    assert turn.history_left_out_count == 4


async def test_summariser_that_fails_leaves_messages_out_and_answers_alone(rig: Rig) -> None:
    conversation_id = await rig.conversation()
    rig.summariser.script(Status(500), Stream.of("All of it."))
    for question in QUESTIONS[:2]:
        await rig.ask(conversation_id, question)
    async with asyncio.timeout(120):
        while not rig.summariser.bodies:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.02)
    turn = await rig.ask(conversation_id, QUESTIONS[2])
    assert (turn.summarised_message_count, turn.history_left_out_count) == (0, 2)
    await rig.summarised(conversation_id, "All of it.")
