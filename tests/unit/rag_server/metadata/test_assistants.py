from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from rag_server.domain.assistant import Assistant, AssistantHead, AssistantProfile
from rag_server.domain.collection import Collection
from rag_server.errors import AlreadyExists, NotFound, ResourceExhausted
from rag_server.metadata import Database
from tests.unit.rag_server.metadata.conftest import TENANT

KEPT = 3
PROFILE = AssistantProfile(
    display_name="People",
    description="Leave and pay",
    instructions="Be kind.",
    language="en",
    collection_ids=("handbook", "law"),
    retrieval=b"\x08\x05",
    generation=b"\x00",
    keywords=("annual leave", "paga"),
    examples=("How long?", "¿Cuánto?"),
)


async def created(
    database: Database, assistant_id: str = "hr", profile: AssistantProfile = PROFILE
) -> Assistant:
    async with database.transaction() as tx:
        return await tx.assistants.create(TENANT, assistant_id, profile, max_count=100)


async def told(database: Database, instructions: str, *, kept: int = KEPT) -> Assistant:
    async with database.transaction() as tx:
        return await tx.assistants.update(
            TENANT, "hr", lambda profile: replace(profile, instructions=instructions), kept=kept
        )


async def defaults(database: Database) -> list[str]:
    async with database.snapshot() as tx:
        return [head.id for head in await tx.assistants.heads(TENANT) if head.is_default]


async def marked(database: Database, assistant_id: str, *, is_default: bool = True) -> Assistant:
    async with database.transaction() as tx:
        return await tx.assistants.mark_default(TENANT, assistant_id, is_default=is_default)


async def test_assistant_is_kept_as_it_was_created(database: Database) -> None:
    assistant = await created(database)
    assert (assistant.id, assistant.revision, assistant.profile) == ("hr", 1, PROFILE)
    assert not assistant.is_default
    async with database.snapshot() as tx:
        assert await tx.assistants.get(TENANT, "hr") == assistant
        assert await tx.assistants.by_uids(TENANT, [assistant.uid, "none"]) == [assistant]
        assert await tx.assistants.heads(TENANT) == [AssistantHead("hr", assistant.uid, 1, False)]


async def test_name_that_is_taken_is_refused(database: Database) -> None:
    await created(database)
    with pytest.raises(AlreadyExists) as caught:
        await created(database)
    assert caught.value.reason == "ASSISTANT_ALREADY_EXISTS"
    assert caught.value.metadata == {"resource": "assistant", "id": "hr"}


async def test_assistants_beyond_the_limit_are_refused_until_one_is_deleted(database: Database) -> None:
    await created(database)
    with pytest.raises(ResourceExhausted) as caught:
        async with database.transaction() as tx:
            await tx.assistants.create(TENANT, "it", PROFILE, max_count=1)
    assert (caught.value.reason, caught.value.metadata) == ("TOO_MANY_ASSISTANTS", {"limit": "1"})
    async with database.transaction() as tx:
        await tx.assistants.delete(TENANT, "hr")
        await tx.assistants.create(TENANT, "it", PROFILE, max_count=1)
        assert await tx.assistants.count(TENANT) == 1


async def test_list_goes_on_after_an_id(database: Database) -> None:
    for name in ("b", "c", "a"):
        await created(database, name)
    async with database.snapshot() as tx:
        assert [each.id for each in await tx.assistants.list(TENANT, limit=2)] == ["a", "b"]
        assert [each.id for each in await tx.assistants.list(TENANT, after_id="b", limit=2)] == ["c"]


async def test_change_makes_a_revision_and_no_change_makes_none(database: Database) -> None:
    first = await created(database)
    second = await told(database, "Be brief.")
    assert (second.revision, second.uid, second.create_time) == (2, first.uid, first.create_time)
    assert second.update_time > first.update_time
    assert second.profile == replace(PROFILE, instructions="Be brief.")
    assert await told(database, "Be brief.") == second


async def test_revisions_are_kept_by_count_newest_first(database: Database) -> None:
    await created(database)
    for number in range(2, 6):
        await told(database, f"{number}")
    async with database.snapshot() as tx:
        revisions = await tx.assistants.revisions(TENANT, "hr", limit=10)
        assert [(each.revision, each.profile.instructions) for each in revisions] == [
            (5, "5"),
            (4, "4"),
            (3, "3"),
        ]
        assert await tx.assistants.revisions(TENANT, "hr", before=5, limit=1) == revisions[1:2]


@pytest.mark.parametrize(("revision", "restored"), [(None, "2"), (1, "Be kind."), (3, "3")])
async def test_restore_makes_a_revision_that_says_what_an_earlier_one_said(
    database: Database, revision: int | None, restored: str
) -> None:
    await created(database)
    for number in (2, 3):
        await told(database, f"{number}")
    async with database.transaction() as tx:
        assistant = await tx.assistants.restore(TENANT, "hr", revision, kept=KEPT)
    assert (assistant.revision, assistant.profile.instructions) == (4, restored)


@pytest.mark.parametrize("revision", [None, 1, 3, 2**53 - 1])
async def test_restore_of_a_revision_that_is_not_kept_is_refused(
    database: Database, revision: int | None
) -> None:
    await created(database)
    await told(database, "2", kept=1)
    with pytest.raises(NotFound) as caught:
        async with database.transaction() as tx:
            await tx.assistants.restore(TENANT, "hr", revision, kept=KEPT)
    assert caught.value.reason == "ASSISTANT_REVISION_NOT_FOUND"


async def test_only_one_assistant_is_the_default(database: Database) -> None:
    for name in ("hr", "it"):
        await created(database, name)
    assert (await marked(database, "hr")).is_default
    assert await defaults(database) == ["hr"]
    assert (await marked(database, "it")).revision == 1
    assert await defaults(database) == ["it"]
    await marked(database, "hr", is_default=False)
    assert await defaults(database) == ["it"]
    await marked(database, "it", is_default=False)
    assert await defaults(database) == []


async def test_marks_at_the_same_moment_leave_one_default(database: Database) -> None:
    names = ["a", "b", "c", "d"]
    for name in names:
        await created(database, name)
    await asyncio.gather(*(marked(database, name) for name in names))
    assert len(await defaults(database)) == 1


async def test_default_that_is_deleted_leaves_none(database: Database) -> None:
    await created(database)
    await marked(database, "hr")
    async with database.transaction() as tx:
        await tx.assistants.delete(TENANT, "hr")
    assert await defaults(database) == []
    again = await created(database)
    assert not again.is_default
    async with database.snapshot() as tx:
        assert await tx.assistants.revisions(TENANT, "hr", limit=10) == [again]


@pytest.mark.parametrize("method", ["get", "delete", "revisions"])
async def test_absent_assistant_is_not_found(database: Database, method: str) -> None:
    async with database.transaction() as tx:
        arguments = {"limit": 1} if method == "revisions" else {}
        with pytest.raises(NotFound) as caught:
            await getattr(tx.assistants, method)(TENANT, "none", **arguments)
    assert caught.value.reason == "ASSISTANT_NOT_FOUND"


async def test_absent_collections_are_named_in_their_order(
    database: Database, collection: Collection
) -> None:
    async with database.snapshot() as tx:
        assert await tx.collections.absent(TENANT, ["z", collection.id, "a"]) == ["z", "a"]
        assert await tx.collections.absent(TENANT, []) == []
