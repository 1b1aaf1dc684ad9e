"""Which changes of a collection the listeners are told of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import pytest

from rag_server.domain.change import CollectionChange
from rag_server.domain.collection import Collection, NewCollection
from rag_server.domain.job import Job, JobState
from rag_server.domain.metadata import MetadataType
from rag_server.errors import AlreadyExists
from rag_server.metadata import Database, Transaction

TENANT = "acme"
Submit = Callable[..., Awaitable[Job]]
Publish = Callable[..., Awaitable[Job]]
Told = list[Sequence[CollectionChange]]


@pytest.fixture
def told(database: Database, collection: Collection) -> Told:
    """Every call of a listener, from after the collection's creation on."""
    calls: Told = []
    database.on_collections_changed(calls.append)
    return calls


async def test_create_and_delete_are_told(database: Database, told: Told) -> None:
    async with database.transaction() as tx:
        made = await tx.collections.create(TENANT, NewCollection("new"), embedding_model="m", dimension=4)
    async with database.transaction() as tx:
        await tx.collections.delete(TENANT, "new")
    assert told == [
        [CollectionChange(TENANT, "new", made.uid, 0)],
        [CollectionChange(TENANT, "new", made.uid, None)],
    ]


async def test_create_in_place_of_a_deleted_one_tells_of_both(
    database: Database, collection: Collection, told: Told
) -> None:
    async with database.transaction() as tx:
        await tx.collections.update(TENANT, "papers", description="d")
        await tx.collections.delete(TENANT, "papers")
        made = await tx.collections.create(TENANT, NewCollection("papers"), embedding_model="m", dimension=4)
    assert told == [
        [
            CollectionChange(TENANT, "papers", collection.uid, None),
            CollectionChange(TENANT, "papers", made.uid, 0),
        ]
    ]


async def test_create_and_delete_in_one_transaction_is_told_as_deleted(
    database: Database, told: Told
) -> None:
    async with database.transaction() as tx:
        made = await tx.collections.create(TENANT, NewCollection("new"), embedding_model="m", dimension=4)
        await tx.collections.delete(TENANT, "new")
    assert told == [[CollectionChange(TENANT, "new", made.uid, None)]]


async def test_published_and_deleted_documents_are_told_with_the_revision(
    database: Database, collection: Collection, submit: Submit, publish: Publish, told: Told
) -> None:
    await publish(await submit("a"))
    jobs = [await submit("b"), await submit("c")]
    async with database.transaction() as tx:
        await tx.documents.delete(TENANT, collection.uid, "a")
        for job in jobs:
            await tx.jobs.change(TENANT, job.id, state=JobState.INDEXING)
    assert told == [
        [CollectionChange(TENANT, "papers", collection.uid, 1)],
        [CollectionChange(TENANT, "papers", collection.uid, 2)],
    ]


_CHANGES: dict[str, Callable[[Transaction, Collection], Awaitable[object]]] = {
    "update": lambda tx, it: tx.collections.update(TENANT, it.id, display_name="P"),
    "update of fields": lambda tx, it: tx.collections.update(
        TENANT, it.id, metadata_fields={"year": MetadataType.INTEGER}
    ),
    "learn": lambda tx, it: tx.metadata_fields.learn(TENANT, it.uid, {"year": 2020}),
    "add": lambda tx, it: tx.metadata_fields.add(TENANT, it.uid, {"year": MetadataType.INTEGER}),
    "declare": lambda tx, it: tx.metadata_fields.declare(TENANT, it.uid, {"year": MetadataType.INTEGER}),
}


@pytest.mark.parametrize("change", _CHANGES)
async def test_change_of_a_collection_is_told_once(
    database: Database, collection: Collection, told: Told, change: str
) -> None:
    async with database.transaction() as tx:
        await _CHANGES[change](tx, collection)
    assert told == [[CollectionChange(TENANT, "papers", collection.uid, 0)]]


async def test_what_changes_no_collection_is_not_told(
    database: Database, collection: Collection, submit: Submit, told: Told
) -> None:
    async with database.transaction() as tx:
        await tx.metadata_fields.learn(TENANT, collection.uid, {})
        with pytest.raises(AlreadyExists):
            await tx.collections.create(TENANT, NewCollection("papers"), embedding_model="m", dimension=4)
    await submit()
    async with database.snapshot() as tx:
        await tx.collections.list(TENANT, limit=10)
    assert told == []


async def test_known_fields_learnt_again_are_not_told(
    database: Database, collection: Collection, told: Told
) -> None:
    for year in (2020, 2021):
        async with database.transaction() as tx:
            await tx.metadata_fields.learn(TENANT, collection.uid, {"year": year})
    assert len(told) == 1


async def test_several_collections_of_one_transaction_are_told_together(
    database: Database, collection: Collection, told: Told
) -> None:
    async with database.transaction() as tx:
        for name in ("b", "a"):
            await tx.collections.create("globex", NewCollection(name), embedding_model="m", dimension=4)
        await tx.collections.update(TENANT, "papers", description="d")
    ((*changes,),) = told
    assert {(change.tenant_id, change.collection_id) for change in changes} == {
        ("globex", "a"),
        ("globex", "b"),
        (TENANT, "papers"),
    }
    assert len(changes) == 3
