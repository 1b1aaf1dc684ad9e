from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rag_server.domain.conversation import AnsweredBefore, ConversationRef
from rag_server.errors import NotFound, Unavailable
from rag_server.generation.turn import HeldTurn, TurnLimits, Turns
from rag_server.metadata import Database
from rag_server.metadata.turns import TurnRepository

TENANT = "acme"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def ref(database: Database) -> ConversationRef:
    async with database.transaction() as tx:
        return ConversationRef((await tx.conversations.create(TENANT, max_count=9)).id)


def turns(database: Database, lease_s: float = 3600.0) -> Turns:
    return Turns(database, TurnLimits(lease_s, max_messages=100))


async def said(database: Database, ref: ConversationRef) -> list[str]:
    async with database.snapshot() as tx:
        return [each.text for each in await tx.messages.list(TENANT, ref.id, limit=99, max_bytes=10**6)]


def held(turn: HeldTurn | AnsweredBefore) -> HeldTurn:
    assert isinstance(turn, HeldTurn)
    return turn


async def checked_until_lost(turn: HeldTurn) -> None:
    """Look whether the turn is lost, until it is: nothing tells."""
    async with asyncio.timeout(60):
        while True:
            turn.check()
            await asyncio.sleep(0.01)


async def free(database: Database, ref: ConversationRef) -> None:
    """Take the turn, which has to be free, and give it back without a trace."""
    with pytest.raises(NotFound):
        async with turns(database).take(TENANT, ref, "free?", ""):
            raise NotFound.for_resource("collection", "x")


async def test_turn_is_given_back_with_its_answer(database: Database, ref: ConversationRef) -> None:
    async with turns(database).take(TENANT, ref, "Who?", "en") as turn:
        assert await held(turn).history(10) == []
        await held(turn).record("I.", b"how")
    assert await said(database, ref) == ["Who?", "I."]
    await free(database, ref)


async def test_turn_without_an_answer_leaves_the_question(database: Database, ref: ConversationRef) -> None:
    with pytest.raises(KeyError):
        async with turns(database).take(TENANT, ref, "Who?", "en"):
            raise KeyError
    assert await said(database, ref) == ["Who?"]
    await free(database, ref)


async def test_turn_of_a_question_that_is_refused_leaves_nothing(
    database: Database, ref: ConversationRef
) -> None:
    await free(database, ref)
    assert await said(database, ref) == []


async def test_turn_of_a_caller_that_leaves_is_given_back(database: Database, ref: ConversationRef) -> None:
    is_held = asyncio.Event()

    async def hang() -> None:
        async with turns(database).take(TENANT, ref, "Who?", "en"):
            is_held.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await is_held.wait()
    before = len(asyncio.all_tasks())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(asyncio.all_tasks()) <= before - 2  # the caller's and the keeper's
    assert await said(database, ref) == ["Who?"]
    await free(database, ref)


async def test_turn_is_renewed_while_it_is_held(
    database: Database, ref: ConversationRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed = asyncio.Event()
    renew = TurnRepository.renew

    async def noting(*arguments: Any, **options: Any) -> None:
        await renew(*arguments, **options)
        renewed.set()

    monkeypatch.setattr(TurnRepository, "renew", noting)
    async with turns(database, lease_s=0.3).take(TENANT, ref, "Who?", "en") as turn:
        for _ in range(3):
            renewed.clear()
            await renewed.wait()
        await held(turn).record("I.", b"")
    assert await said(database, ref) == ["Who?", "I."]


async def test_turn_that_another_has_taken_says_so(database: Database, ref: ConversationRef) -> None:
    async with turns(database, lease_s=0.03).take(TENANT, ref, "Who?", "en") as turn:
        async with database.transaction() as tx:
            await tx.turns.release_all()
        with pytest.raises(Unavailable) as caught:
            await checked_until_lost(held(turn))
        assert caught.value.reason == "CONVERSATION_TURN_LOST"
        with pytest.raises(Unavailable):
            await held(turn).record("I.", b"")
    assert await said(database, ref) == ["Who?"]


async def test_turn_that_cannot_be_renewed_in_time_is_lost(
    database: Database, ref: ConversationRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = 0

    async def refuse(*_arguments: Any, **_options: Any) -> None:
        nonlocal attempts
        attempts += 1
        raise Unavailable("METADATA_STORE_UNAVAILABLE", "down")

    monkeypatch.setattr(TurnRepository, "renew", refuse)
    async with turns(database, lease_s=0.03).take(TENANT, ref, "Who?", "en") as turn:
        with pytest.raises(Unavailable) as caught:
            await checked_until_lost(held(turn))
    assert caught.value.reason == "CONVERSATION_TURN_LOST"
    assert attempts >= 1


async def test_turn_whose_release_fails_is_left_to_its_end(
    database: Database, ref: ConversationRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_arguments: Any, **_options: Any) -> None:
        raise Unavailable("METADATA_STORE_UNAVAILABLE", "down")

    monkeypatch.setattr(TurnRepository, "release", refuse)
    with pytest.raises(KeyError):  # not the failure of the release
        async with turns(database).take(TENANT, ref, "Who?", "en"):
            raise KeyError
    with pytest.raises(Unavailable) as caught:
        async with turns(database).take(TENANT, ref, "Who else?", "en"):
            pass
    assert caught.value.reason == "CONVERSATION_BUSY"


async def test_turn_of_a_call_that_was_answered_gives_the_answer(
    database: Database, ref: ConversationRef
) -> None:
    once = ConversationRef(ref.id, "01234567-89ab-cdef-0123-456789abcdef", "h")
    async with turns(database).take(TENANT, once, "Who?", "en") as turn:
        await held(turn).record("I.", b"how")
    async with turns(database).take(TENANT, once, "Who?", "en") as again:
        assert isinstance(again, AnsweredBefore)
        assert (again.answer.text, again.answer.answer) == ("I.", b"how")
