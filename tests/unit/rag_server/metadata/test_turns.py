from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from rag_server.domain.conversation import AnsweredBefore, Conversation, ConversationRef, Role, TurnLease
from rag_server.errors import AlreadyExists, NotFound, ResourceExhausted, Unavailable
from rag_server.metadata import Database
from tests.unit.rag_server.metadata.conftest import TENANT

LONG_S = 3600.0
REQUEST_ID = "01234567-89ab-cdef-0123-456789abcdef"

Begin = Callable[..., Awaitable[TurnLease | AnsweredBefore]]


@pytest.fixture
async def conversation(database: Database) -> Conversation:
    async with database.transaction() as tx:
        return await tx.conversations.create(TENANT, max_count=10)


@pytest.fixture
def begin(database: Database, conversation: Conversation) -> Begin:
    """Ask a question of the conversation."""

    async def begin(
        question: str = "Where is it?",
        *,
        language: str = "",
        ttl_s: float = LONG_S,
        max_messages: int = 100,
        request_id: str = "",
        body_hash: str = "",
    ) -> TurnLease | AnsweredBefore:
        ref = ConversationRef(conversation.id, request_id, body_hash)
        async with database.transaction() as tx:
            return await tx.turns.begin(
                TENANT, ref, question, language=language, ttl_s=ttl_s, max_messages=max_messages
            )

    return begin


@pytest.fixture
def ask(database: Database, begin: Begin) -> Callable[..., Awaitable[TurnLease]]:
    """Ask a question, and have it answered."""

    async def ask(question: str, answer: str, **options: str) -> TurnLease:
        lease = await begin(question, **options)
        assert isinstance(lease, TurnLease)
        async with database.transaction() as tx:
            await tx.turns.record(TENANT, lease, answer, answer.encode())
        return lease

    return ask


Ask = Callable[..., Awaitable[TurnLease]]


async def texts(database: Database, conversation: Conversation) -> list[str]:
    async with database.snapshot() as tx:
        found = await tx.messages.list(TENANT, conversation.id, limit=100, max_bytes=10**6)
    return [f"{message.role}: {message.text}" for message in found]


async def state(database: Database, conversation: Conversation) -> Conversation:
    async with database.snapshot() as tx:
        return await tx.conversations.get(TENANT, conversation.id)


def taken(turn: TurnLease | AnsweredBefore) -> TurnLease:
    assert isinstance(turn, TurnLease)
    return turn


async def test_question_and_answer_become_messages(
    database: Database, conversation: Conversation, begin: Begin
) -> None:
    lease = taken(await begin("¿Dónde está?", language="es"))
    asked = await state(database, conversation)
    assert (asked.title, asked.language, asked.message_count) == ("¿Dónde está?", "es", 1)
    assert asked.update_time > conversation.update_time
    async with database.transaction() as tx:
        await tx.turns.record(TENANT, lease, "Aquí.", b"how")
    async with database.snapshot() as tx:
        question, answer = await tx.messages.list(TENANT, conversation.id, limit=10, max_bytes=1000)
    assert (question.id, question.role, question.answer) == (lease.question_id, Role.USER, None)
    assert (answer.id, answer.role, answer.text) == (lease.answer_id, Role.ASSISTANT, "Aquí.")
    assert (answer.question_id, answer.answer) == (question.id, b"how")
    assert answer.sequence > question.sequence == lease.question_sequence
    done = await state(database, conversation)
    assert (done.message_count, done.update_time > asked.update_time) == (2, True)


async def test_language_that_cannot_be_told_leaves_the_one_before(
    database: Database, conversation: Conversation, ask: Ask
) -> None:
    await ask("Where?", "Here.", language="en")
    await ask("Chile?", "There.")
    assert (await state(database, conversation)).language == "en"


async def test_title_that_was_given_stays(database: Database, conversation: Conversation, ask: Ask) -> None:
    async with database.transaction() as tx:
        await tx.conversations.rename(TENANT, conversation.id, "Mine")
    await ask("Where?", "Here.")
    assert (await state(database, conversation)).title == "Mine"


async def test_second_question_is_refused_while_the_first_is_answered(
    database: Database, conversation: Conversation, begin: Begin
) -> None:
    await begin("first")
    with pytest.raises(Unavailable) as caught:
        await begin("second")
    assert caught.value.reason == "CONVERSATION_BUSY"
    assert caught.value.metadata == {"resource": "conversation", "id": conversation.id}
    assert caught.value.retry_after_s == 1.0
    assert await texts(database, conversation) == ["user: first"]


async def test_refusal_says_no_later_moment_than_the_end_of_the_lease(begin: Begin) -> None:
    await begin("first", ttl_s=1.5)  # the clock goes on by a second with each look
    with pytest.raises(Unavailable) as caught:
        await begin("second")
    assert caught.value.retry_after_s == pytest.approx(0.5)


async def test_question_of_a_holder_that_died_stays_unanswered_and_the_next_goes_on(
    database: Database, conversation: Conversation, begin: Begin
) -> None:
    dead = taken(await begin("first", ttl_s=0.5))
    lease = taken(await begin("second"))
    assert lease.message_count == 1
    async with database.transaction() as tx:
        with pytest.raises(Unavailable) as caught:
            await tx.turns.record(TENANT, dead, "too late", b"")
    assert caught.value.reason == "CONVERSATION_TURN_LOST"
    async with database.transaction() as tx:
        await tx.turns.release(TENANT, dead, is_withdrawn=True)  # has nothing to say any more
        await tx.turns.record(TENANT, lease, "in time", b"")
    assert await texts(database, conversation) == ["user: first", "user: second", "assistant: in time"]


async def test_turn_that_is_renewed_does_not_end(database: Database, begin: Begin) -> None:
    lease = taken(await begin("first", ttl_s=0.5))
    async with database.transaction() as tx:
        await tx.turns.renew(TENANT, lease, ttl_s=LONG_S)
    with pytest.raises(Unavailable) as caught:
        await begin("second")
    assert caught.value.reason == "CONVERSATION_BUSY"


async def test_turn_that_another_took_cannot_be_renewed(database: Database, begin: Begin) -> None:
    dead = taken(await begin("first", ttl_s=0.5))
    await begin("second")
    async with database.transaction() as tx:
        with pytest.raises(Unavailable) as caught:
            await tx.turns.renew(TENANT, dead, ttl_s=LONG_S)
    assert caught.value.reason == "CONVERSATION_TURN_LOST"


async def test_turn_given_back_lets_the_next_question_in(
    database: Database, conversation: Conversation, begin: Begin
) -> None:
    lease = taken(await begin("first"))
    async with database.transaction() as tx:
        await tx.turns.release(TENANT, lease)
    await begin("second")
    assert await texts(database, conversation) == ["user: first", "user: second"]


async def test_question_that_is_withdrawn_leaves_nothing(
    database: Database, conversation: Conversation, begin: Begin
) -> None:
    lease = taken(await begin("first"))
    async with database.transaction() as tx:
        await tx.turns.release(TENANT, lease, is_withdrawn=True)
    left = await state(database, conversation)
    assert (left.message_count, left.title) == (0, "")
    assert await texts(database, conversation) == []


async def test_question_that_is_withdrawn_leaves_the_title_of_an_earlier_one(
    database: Database, conversation: Conversation, begin: Begin, ask: Ask
) -> None:
    await ask("first", "yes")
    lease = taken(await begin("first"))
    async with database.transaction() as tx:
        await tx.turns.release(TENANT, lease, is_withdrawn=True)
    assert (await state(database, conversation)).title == "first"


async def test_release_all_ends_every_turn(database: Database, begin: Begin) -> None:
    await begin("first")
    async with database.transaction() as tx:
        await tx.turns.release_all()
    assert isinstance(await begin("second"), TurnLease)


async def test_conversation_without_room_for_question_and_answer_is_full(
    database: Database, conversation: Conversation, begin: Begin, ask: Ask
) -> None:
    await ask("first", "yes")
    with pytest.raises(ResourceExhausted) as caught:
        await begin("second", max_messages=3)
    assert caught.value.reason == "CONVERSATION_FULL"
    assert caught.value.metadata == {"resource": "conversation", "id": conversation.id, "limit": "3"}
    assert isinstance(await begin("second", max_messages=4), TurnLease)


async def test_call_that_was_answered_is_told_the_same_again(
    database: Database, conversation: Conversation, begin: Begin, ask: Ask
) -> None:
    lease = await ask("first", "yes", request_id=REQUEST_ID, body_hash="h")
    await begin("another")  # even while another question is being answered
    again = await begin("first", request_id=REQUEST_ID, body_hash="h")
    assert isinstance(again, AnsweredBefore)
    assert (again.conversation_id, again.question_id) == (conversation.id, lease.question_id)
    assert (again.answer.id, again.answer.text, again.answer.answer) == (lease.answer_id, "yes", b"yes")
    assert await texts(database, conversation) == ["user: first", "assistant: yes", "user: another"]


async def test_call_that_was_not_answered_asks_its_question_once(
    database: Database, conversation: Conversation, begin: Begin
) -> None:
    lost = taken(await begin("first", ttl_s=0.5, request_id=REQUEST_ID, body_hash="h"))
    other = taken(await begin("second"))
    async with database.transaction() as tx:
        await tx.turns.record(TENANT, other, "yes", b"")
    again = taken(await begin("first", request_id=REQUEST_ID, body_hash="h"))
    assert again.question_id == lost.question_id
    assert again.message_count == 2
    assert await texts(database, conversation) == ["user: second", "assistant: yes", "user: first"]
    assert (await state(database, conversation)).message_count == 3


async def test_call_that_is_being_answered_is_refused_when_it_comes_again(begin: Begin) -> None:
    await begin("first", request_id=REQUEST_ID, body_hash="h")
    with pytest.raises(Unavailable) as caught:
        await begin("first", request_id=REQUEST_ID, body_hash="h")
    assert caught.value.reason == "CONVERSATION_BUSY"


async def test_request_id_of_another_request_is_refused(begin: Begin, ask: Ask) -> None:
    await ask("first", "yes", request_id=REQUEST_ID, body_hash="h")
    with pytest.raises(AlreadyExists) as caught:
        await begin("second", request_id=REQUEST_ID, body_hash="i")
    assert caught.value.reason == "REQUEST_ID_REUSED"
    assert caught.value.metadata == {"request_id": REQUEST_ID}


async def test_question_of_an_absent_conversation_is_refused(database: Database) -> None:
    with pytest.raises(NotFound) as caught:
        async with database.transaction() as tx:
            await tx.turns.begin(TENANT, ConversationRef("none"), "Who?", ttl_s=1.0, max_messages=9)
    assert caught.value.reason == "CONVERSATION_NOT_FOUND"


async def test_answer_to_a_conversation_that_was_deleted_is_refused(
    database: Database, conversation: Conversation, begin: Begin
) -> None:
    lease = taken(await begin("first"))
    async with database.transaction() as tx:
        await tx.conversations.delete(TENANT, conversation.id)
    with pytest.raises(NotFound):
        async with database.transaction() as tx:
            await tx.turns.record(TENANT, lease, "too late", b"")
    async with database.transaction() as tx:
        await tx.turns.release(TENANT, lease)


async def test_of_many_questions_at_once_one_gets_the_turn(
    database: Database, conversation: Conversation, begin: Begin
) -> None:
    outcomes = await asyncio.gather(*(begin(f"question {n}") for n in range(8)), return_exceptions=True)
    assert sum(isinstance(each, TurnLease) for each in outcomes) == 1
    refused = [each for each in outcomes if isinstance(each, Unavailable)]
    assert {each.reason for each in refused} == {"CONVERSATION_BUSY"}
    assert len(refused) == 7
    assert len(await texts(database, conversation)) == 1


async def test_of_two_databases_at_once_one_gets_the_turn(
    database: Database, url: str, conversation: Conversation, begin: Begin
) -> None:
    """As two servers would: each with its own connections."""

    async def elsewhere() -> TurnLease | AnsweredBefore:
        async with other.transaction() as tx:
            return await tx.turns.begin(
                TENANT, ConversationRef(conversation.id), "there", ttl_s=LONG_S, max_messages=100
            )

    other = await Database.open(url, clock=lambda: conversation.create_time)
    try:
        outcomes = await asyncio.gather(begin("here"), elsewhere(), return_exceptions=True)
    finally:
        await other.close()
    assert sorted(type(each).__name__ for each in outcomes) == ["TurnLease", "Unavailable"]
    assert len(await texts(database, conversation)) == 1
