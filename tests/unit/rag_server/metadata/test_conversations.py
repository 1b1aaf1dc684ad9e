from __future__ import annotations

import pytest

from rag_server.domain.conversation import Conversation, ConversationRef, TurnLease
from rag_server.errors import NotFound, ResourceExhausted
from rag_server.metadata import Database
from tests.unit.rag_server.metadata.conftest import TENANT

MANY = 1000


async def created(database: Database, title: str = "") -> Conversation:
    async with database.transaction() as tx:
        return await tx.conversations.create(TENANT, title=title, max_count=MANY)


async def test_conversation_is_kept_as_it_was_created(database: Database) -> None:
    conversation = await created(database, "Ausbau")
    async with database.snapshot() as tx:
        assert await tx.conversations.get(TENANT, conversation.id) == conversation
    assert (conversation.title, conversation.language, conversation.message_count) == ("Ausbau", "", 0)
    assert conversation.create_time == conversation.update_time


async def test_conversations_beyond_the_limit_are_refused_until_one_is_deleted(database: Database) -> None:
    first = await created(database)
    with pytest.raises(ResourceExhausted) as caught:
        async with database.transaction() as tx:
            await tx.conversations.create(TENANT, max_count=1)
    assert (caught.value.reason, caught.value.metadata) == ("TOO_MANY_CONVERSATIONS", {"limit": "1"})
    assert caught.value.retry_after_s is None
    async with database.transaction() as tx:
        await tx.conversations.delete(TENANT, first.id)
        await tx.conversations.create(TENANT, max_count=1)
        assert await tx.conversations.count(TENANT) == 1


async def test_list_begins_with_the_conversation_that_was_changed_last(database: Database) -> None:
    one, two, three = [await created(database, title) for title in ("one", "two", "three")]
    async with database.transaction() as tx:
        renamed = await tx.conversations.rename(TENANT, one.id, "1")
    assert (renamed.title, renamed.update_time > three.update_time) == ("1", True)
    async with database.snapshot() as tx:
        first = await tx.conversations.list(TENANT, limit=2)
        rest = await tx.conversations.list(TENANT, after=(first[-1].update_time, first[-1].id), limit=2)
    assert first == [renamed, three]
    assert rest == [two]


async def test_list_goes_on_within_conversations_of_one_moment(database: Database) -> None:
    async with database.transaction() as tx:
        clock = tx.conversations._scope.clock()
        ids = []
        for _ in range(3):
            made = await tx.conversations.create(TENANT, max_count=MANY)
            row = await tx.conversations.lock(TENANT, made.id)
            row.update_time = clock
            ids.append(made.id)
    async with database.snapshot() as tx:
        (first,) = await tx.conversations.list(TENANT, limit=1)
        rest = await tx.conversations.list(TENANT, after=(first.update_time, first.id), limit=9)
    assert [first.id, *(each.id for each in rest)] == sorted(ids, reverse=True)


async def test_delete_takes_the_messages_along(database: Database) -> None:
    conversation = await created(database)
    async with database.transaction() as tx:
        lease = await tx.turns.begin(
            TENANT, ConversationRef(conversation.id), "Who?", ttl_s=60.0, max_messages=10
        )
        assert isinstance(lease, TurnLease)
        await tx.turns.record(TENANT, lease, "I.", b"answer")
    async with database.transaction() as tx:
        await tx.conversations.delete(TENANT, conversation.id)
    async with database.snapshot() as tx:
        assert await tx.messages.list(TENANT, conversation.id, limit=10, max_bytes=10) == []
        with pytest.raises(NotFound) as caught:
            await tx.conversations.get(TENANT, conversation.id)
    assert caught.value.reason == "CONVERSATION_NOT_FOUND"
