from __future__ import annotations

import pytest

from rag_server.domain.conversation import ConversationRef, StoredSummary, Summary, TurnLease
from rag_server.errors import NotFound
from rag_server.metadata import Database
from tests.unit.rag_server.metadata.conftest import TENANT


@pytest.fixture
async def conversation_id(database: Database) -> str:
    """Make a conversation of two answered questions (1 to 2, 4 to 5) with one between them that is not."""
    async with database.transaction() as tx:
        made = (await tx.conversations.create(TENANT, max_count=10)).id
        for answer in ("a1", "", "a2"):
            lease = await tx.turns.begin(TENANT, ConversationRef(made), "q?", ttl_s=3600.0, max_messages=100)
            assert isinstance(lease, TurnLease)
            if answer:
                await tx.turns.record(TENANT, lease, answer, b"")
            else:
                await tx.turns.release(TENANT, lease)
    return made


async def test_conversation_without_a_summary_has_an_empty_one(
    database: Database, conversation_id: str
) -> None:
    async with database.snapshot() as tx:
        assert await tx.summaries.get(TENANT, conversation_id) == StoredSummary("", 0)
        assert await tx.summaries.before(TENANT, conversation_id, 99) is None


@pytest.mark.parametrize(
    ("reaches", "before", "count"), [(2, 99, 2), (2, 4, 2), (5, 99, 4), (5, 4, 2), (5, 1, None)]
)
async def test_summary_counts_the_answered_messages_that_it_stands_for_and_that_are_not_told(
    database: Database, conversation_id: str, reaches: int, before: int, count: int | None
) -> None:
    async with database.transaction() as tx:
        assert await tx.summaries.put(TENANT, conversation_id, "In short.", reaches, expected=0)
        found = await tx.summaries.before(TENANT, conversation_id, before)
    assert found == (None if count is None else Summary("In short.", count))


async def test_put_replaces_only_the_summary_that_is_expected_and_changes_nothing_else(
    database: Database, conversation_id: str
) -> None:
    async with database.transaction() as tx:
        before = await tx.conversations.get(TENANT, conversation_id)
        assert await tx.summaries.put(TENANT, conversation_id, "One.", 2, expected=0)
        assert not await tx.summaries.put(TENANT, conversation_id, "Late.", 5, expected=0)
        assert await tx.summaries.put(TENANT, conversation_id, "Both.", 5, expected=2)
    async with database.snapshot() as tx:
        assert await tx.summaries.get(TENANT, conversation_id) == StoredSummary("Both.", 5)
        assert await tx.conversations.get(TENANT, conversation_id) == before


async def test_summary_goes_with_its_conversation(database: Database, conversation_id: str) -> None:
    async with database.transaction() as tx:
        await tx.summaries.put(TENANT, conversation_id, "One.", 2, expected=0)
        await tx.conversations.delete(TENANT, conversation_id)
        with pytest.raises(NotFound):
            await tx.summaries.get(TENANT, conversation_id)
        with pytest.raises(NotFound):
            await tx.summaries.before(TENANT, conversation_id, 99)
        with pytest.raises(NotFound):
            await tx.summaries.put(TENANT, conversation_id, "Two.", 5, expected=2)
