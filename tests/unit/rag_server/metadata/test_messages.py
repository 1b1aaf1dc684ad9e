from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from rag_server.domain.conversation import ConversationRef, HistoryMessage, Role, TurnLease
from rag_server.metadata import Database
from tests.unit.rag_server.metadata.conftest import TENANT

Ask = Callable[..., Awaitable[TurnLease]]


@pytest.fixture
async def conversation_id(database: Database) -> str:
    async with database.transaction() as tx:
        return (await tx.conversations.create(TENANT, max_count=10)).id


@pytest.fixture
def ask(database: Database, conversation_id: str) -> Ask:
    """Ask a question; without an answer it stays unanswered."""

    async def ask(question: str, text: str = "", answer: bytes = b"") -> TurnLease:
        async with database.transaction() as tx:
            lease = await tx.turns.begin(
                TENANT, ConversationRef(conversation_id), question, ttl_s=3600.0, max_messages=100
            )
            assert isinstance(lease, TurnLease)
            if text:
                await tx.turns.record(TENANT, lease, text, answer)
            else:
                await tx.turns.release(TENANT, lease)
        return lease

    return ask


async def listed(database: Database, conversation_id: str, **options: int) -> list[str]:
    asked = {"limit": 100, "max_bytes": 10**6, **options}
    async with database.snapshot() as tx:
        found = await tx.messages.list(TENANT, conversation_id, **asked)
    return [message.text for message in found]


async def test_list_is_in_order_and_goes_on_after_a_message(
    database: Database, conversation_id: str, ask: Ask
) -> None:
    await ask("q1", "a1")
    lease = await ask("q2")
    await ask("q3", "a3")
    assert await listed(database, conversation_id) == ["q1", "a1", "q2", "q3", "a3"]
    assert await listed(database, conversation_id, limit=2) == ["q1", "a1"]
    assert await listed(database, conversation_id, after=lease.question_sequence) == ["q3", "a3"]
    async with database.snapshot() as tx:
        assert await tx.messages.has_after(TENANT, conversation_id, lease.question_sequence)
        assert not await tx.messages.has_after(TENANT, conversation_id, 10**6)


async def test_list_ends_before_it_has_too_many_bytes(
    database: Database, conversation_id: str, ask: Ask
) -> None:
    await ask("ñ1", "a1", b"x" * 4)  # 3 bytes and 6
    await ask("q2", "a2")
    assert await listed(database, conversation_id, max_bytes=8) == ["ñ1"]
    assert await listed(database, conversation_id, max_bytes=9) == ["ñ1", "a1"]


async def test_list_has_a_message_that_is_larger_than_a_page(
    database: Database, conversation_id: str, ask: Ask
) -> None:
    lease = await ask("q1", "a1", b"x" * 4000)
    assert await listed(database, conversation_id, max_bytes=1) == ["q1"]
    rest = await listed(database, conversation_id, max_bytes=1, after=lease.question_sequence)
    assert rest == ["a1"]


async def test_recent_has_the_last_questions_that_were_answered(
    database: Database, conversation_id: str, ask: Ask
) -> None:
    for number in range(1, 4):
        await ask(f"q{number}", f"a{number}")
    await ask("unanswered")
    now = await ask("now")

    async def recent(limit: int, before: int = now.question_sequence) -> list[str]:
        async with database.snapshot() as tx:
            found = await tx.messages.recent(TENANT, conversation_id, before=before, limit=limit)
        roles = [Role.USER, Role.ASSISTANT] * (len(found) // 2)
        assert found == [HistoryMessage(role, each.text) for role, each in zip(roles, found, strict=True)]
        return [each.text for each in found]

    assert await recent(100) == ["q1", "a1", "q2", "a2", "q3", "a3"]
    assert await recent(5) == ["q2", "a2", "q3", "a3"]
    assert await recent(1) == []
    assert await recent(100, before=3) == ["q1", "a1"]


async def test_oldest_has_the_first_answered_questions_between_two_numbers(
    database: Database, conversation_id: str, ask: Ask
) -> None:
    await ask("q1", "a1")  # 1, 2
    await ask("unanswered")
    await ask("q2", "a2")  # 4, 5
    await ask("q3", "a3")  # 6, 7

    async def oldest(after: int, before: int | None = None, limit: int = 100) -> list[tuple[str, int]]:
        async with database.snapshot() as tx:
            found = await tx.messages.oldest(TENANT, conversation_id, after=after, before=before, limit=limit)
        assert [each.role for each in found] == [Role.USER, Role.ASSISTANT] * (len(found) // 2)
        return [(each.text, each.sequence) for each in found]

    assert await oldest(0) == [("q1", 1), ("a1", 2), ("q2", 4), ("a2", 5), ("q3", 6), ("a3", 7)]
    assert await oldest(0, limit=3) == [("q1", 1), ("a1", 2)]
    assert await oldest(2, 6) == [("q2", 4), ("a2", 5)]
    assert await oldest(5, 6) == []
