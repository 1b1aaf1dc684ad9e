"""Conversations when servers die, lose their turn, or are two: no half answer, and never two at once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc
import pytest

from rag.v1 import conversation_service_pb2 as pb
from rag.v1 import generate_service_pb2 as generate_pb
from rag_server.app import running_server
from rag_server.backends.extractive.generator import ExtractiveGenerator
from rag_server.domain.generation import Delta, FinishReason, Usage
from rag_server.errors import Unavailable
from rag_server.metadata.turns import TurnRepository
from rag_server.testing.server_process import ServerStarter
from tests import databases
from tests.conftest import SettingsFactory
from tests.faults.polling import until
from tests.faults.shared_database import two_settings
from tests.rag_client import RagClient, failure, failure_of

COLLECTION = "birds"
QUESTION = "Where does the heron wait?"
TEXT = "The heron waits by the river."


async def begun(client: RagClient) -> str:
    """Make a collection and a conversation; return the latter."""
    await client.create_collection(COLLECTION)
    await client.ingest_text(COLLECTION, TEXT, "heron")
    response = await client.conversations.CreateConversation(pb.CreateConversationRequest())
    return response.conversation.id


def asking(conversation_id: str, question: str = QUESTION, **fields: Any) -> generate_pb.GenerateRequest:
    return generate_pb.GenerateRequest(
        collection_ids=[COLLECTION], question=question, conversation_id=conversation_id, **fields
    )


async def said(client: RagClient, conversation_id: str) -> list[str]:
    request = pb.ListMessagesRequest(conversation_id=conversation_id)
    return [each.text for each in (await client.conversations.ListMessages(request)).messages]


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_server_killed_while_it_records_an_answer_has_recorded_it_or_not(
    start_server: ServerStarter, moment: str
) -> None:
    process = start_server(failpoint=f"record-answer.{moment}")
    async with RagClient(process.address) as client:
        conversation_id = await begun(client)
        request = asking(conversation_id, request_id=str(uuid.uuid4()))
        with pytest.raises(grpc.aio.AioRpcError):
            await client.generate.Generate(request)
    assert process.wait() == -9

    process = start_server()  # the lease of the dead one does not keep it from going on
    async with RagClient(process.address) as client:
        left = [QUESTION] if moment == "before" else [QUESTION, TEXT]
        assert await said(client, conversation_id) == left
        response = await client.generate.Generate(request)
        assert response.answer == TEXT
        assert await said(client, conversation_id) == [QUESTION, TEXT]
        again = await client.generate.Generate(asking(conversation_id))
        assert again.turn.history_message_count == 2
    assert process.stop() == 0


def gated(monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Have answers wait for the first event before their first word, and tell of it by the second."""
    opened, reached = asyncio.Event(), asyncio.Event()
    generate = ExtractiveGenerator.generate

    async def waiting(*arguments: Any) -> AsyncGenerator[Any, None]:
        reached.set()
        await opened.wait()
        async for event in generate(*arguments):
            yield event

    monkeypatch.setattr(ExtractiveGenerator, "generate", waiting)
    return opened, reached


async def test_server_that_starts_leaves_the_turns_of_another_on_its_database_alone(
    tmp_path: Path, migrated_postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases.empty(migrated_postgres)
    opened, reached = gated(monkeypatch)
    here, there = two_settings(tmp_path, migrated_postgres)
    async with running_server(here) as running, RagClient(running.address) as client:
        conversation_id = await begun(client)
        answer = asyncio.ensure_future(client.generate.Generate(asking(conversation_id)))
        await reached.wait()
        async with running_server(there):
            opened.set()
            assert (await answer).answer == TEXT
        assert await said(client, conversation_id) == [QUESTION, TEXT]
    databases.empty(migrated_postgres)


async def test_two_servers_on_one_database_answer_one_question_at_a_time(
    tmp_path: Path, migrated_postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases.empty(migrated_postgres)
    opened, reached = gated(monkeypatch)
    used = two_settings(tmp_path, migrated_postgres)
    async with (
        running_server(used[0]) as here,
        running_server(used[1]) as there,
        RagClient(here.address) as one,
        RagClient(there.address) as two,
    ):
        conversation_id = await begun(one)
        first = asyncio.ensure_future(one.generate.Generate(asking(conversation_id)))
        await reached.wait()
        refused = await failure(two.generate.Generate(asking(conversation_id, "And the crane?")))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "CONVERSATION_BUSY")
        assert await said(two, conversation_id) == [QUESTION]
        opened.set()
        assert (await first).answer == TEXT
        assert await said(two, conversation_id) == [QUESTION, TEXT]
    databases.empty(migrated_postgres)


async def test_many_questions_at_once_are_answered_one_after_the_other(settings: SettingsFactory) -> None:
    questions = [f"Where does heron number {number} wait?" for number in range(6)]
    async with running_server(settings()) as server, RagClient(server.address) as client:
        conversation_id = await begun(client)

        async def ask(question: str) -> None:
            async with asyncio.timeout(60):
                while True:
                    try:
                        await client.generate.Generate(asking(conversation_id, question))
                    except grpc.aio.AioRpcError as error:
                        if failure_of(error).reason != "CONVERSATION_BUSY":
                            raise
                        await asyncio.sleep(0.01)
                    else:
                        return

        await asyncio.gather(*map(ask, questions))
        request = pb.ListMessagesRequest(conversation_id=conversation_id)
        messages = (await client.conversations.ListMessages(request)).messages
    pairs = list(zip(messages[::2], messages[1::2], strict=True))
    assert sorted(question.text for question, _ in pairs) == questions
    assert all(answer.answer.question_id == question.id for question, answer in pairs)


async def test_answer_that_cannot_be_recorded_does_not_end_well(
    settings: SettingsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_arguments: Any) -> None:
        raise Unavailable("METADATA_STORE_UNAVAILABLE", "the metadata store does not answer; try again")

    async with running_server(settings()) as server, RagClient(server.address) as client:
        conversation_id = await begun(client)
        request = asking(conversation_id, request_id=str(uuid.uuid4()))
        with monkeypatch.context() as patched:
            patched.setattr(TurnRepository, "record", refuse)
            refused = await failure(client.generate.Generate(request))
        assert refused.reason == "METADATA_STORE_UNAVAILABLE"
        assert await said(client, conversation_id) == [QUESTION]
        assert (await client.generate.Generate(request)).answer == TEXT
        assert await said(client, conversation_id) == [QUESTION, TEXT]


async def test_answer_whose_turn_was_taken_meanwhile_ends_with_an_error(
    settings: SettingsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that was paused for longer than its lease finds that another has gone on."""
    taken = asyncio.Event()
    stuck = asyncio.Event()
    generate = ExtractiveGenerator.generate

    async def slow(generator: Any, prompt: Any) -> AsyncGenerator[Any, None]:
        if prompt.request.question != QUESTION:
            async for event in generate(generator, prompt):
                yield event
            return
        yield Delta("half")
        stuck.set()
        await taken.wait()
        yield Usage(1, 1)
        yield FinishReason.COMPLETE

    monkeypatch.setattr(ExtractiveGenerator, "generate", slow)
    async with running_server(settings()) as server, RagClient(server.address) as client:
        conversation_id = await begun(client)
        first = asyncio.ensure_future(failure(client.generate.Generate(asking(conversation_id))))
        await stuck.wait()
        async with server.parts.database.transaction() as tx:
            await tx.turns.release_all()  # as if the lease were over
        second = await client.generate.Generate(
            asking(conversation_id, "By which river does the heron wait?")
        )
        taken.set()
        refused = await first
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "CONVERSATION_TURN_LOST")
        assert refused.retry_after_s is not None
        listed = await said(client, conversation_id)
        assert listed == [QUESTION, "By which river does the heron wait?", second.answer]


async def test_callers_that_leave_leave_no_task_and_no_turn_behind(
    settings: SettingsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = 0
    count = 8

    async def stuck(*_arguments: Any) -> AsyncGenerator[Any, None]:
        nonlocal waiting
        yield Delta("half")
        waiting += 1
        await asyncio.Event().wait()

    async with running_server(settings()) as server, RagClient(server.address) as client:
        ids = [await begun(client)]
        for _ in range(count - 1):
            response = await client.conversations.CreateConversation(pb.CreateConversationRequest())
            ids.append(response.conversation.id)
        await client.generate.Generate(asking(ids[0]))  # whatever is made with the first answer is there
        tasks_before = len(asyncio.all_tasks())
        with monkeypatch.context() as patched:
            patched.setattr(ExtractiveGenerator, "generate", stuck)
            calls = [client.generate.Generate(asking(each)) for each in ids]
            await until(lambda: waiting == count)
            for call in calls:
                call.cancel()
            await until(lambda: len(asyncio.all_tasks()) <= tasks_before)
        for each in ids:
            assert (await client.generate.Generate(asking(each))).answer == TEXT
        assert await said(client, ids[1]) == [QUESTION, QUESTION, TEXT]
