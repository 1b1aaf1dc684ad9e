from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from rag_server.domain.change import DocumentChange
from rag_server.domain.collection import Collection, NewCollection
from rag_server.domain.document import NewDocument
from rag_server.domain.job import Job, JobState
from rag_server.domain.publication import Publication
from rag_server.errors import NotFound
from rag_server.metadata import Database, changes

TENANT = "acme"
Submit = Callable[..., Awaitable[Job]]
Publish = Callable[..., Awaitable[Job]]


async def _since(
    database: Database, collection: Collection, revision: int, *, limit: int = 100
) -> list[DocumentChange] | None:
    async with database.snapshot() as tx:
        return await tx.changes.since(TENANT, collection.uid, revision, limit=limit)


async def _delete(database: Database, collection: Collection, document_id: str = "doc") -> None:
    async with database.transaction() as tx:
        await tx.documents.delete(TENANT, collection.uid, document_id)


async def test_since_every_kind_of_change_is_there_once_and_in_order(
    database: Database, collection: Collection, submit: Submit, publish: Publish
) -> None:
    await publish(await submit("a"))
    await publish(await submit("b"), chunks=5)
    await publish(await submit("a"), chunks=7)
    await _delete(database, collection, "b")
    assert await _since(database, collection, 0) == [
        DocumentChange(1, "a", 1, 3),
        DocumentChange(2, "b", 1, 5),
        DocumentChange(3, "a", 2, 7),
        DocumentChange(4, "b", None, 0),
    ]
    assert await _since(database, collection, 3) == [DocumentChange(4, "b", None, 0)]
    assert await _since(database, collection, 4) == []


async def test_since_what_changes_no_document_is_not_in_the_log(
    database: Database, collection: Collection, submit: Submit, publish: Publish
) -> None:
    late, cancelled, unpublished = await submit(), await submit("b"), await submit("c")
    await publish(await submit())
    await publish(late)
    async with database.transaction() as tx:
        await tx.jobs.change(TENANT, cancelled.id, state=JobState.INDEXING)
        await tx.jobs.request_cancel(TENANT, cancelled.id)
        await tx.collections.update(TENANT, collection.id, description="d")
        await tx.metadata_fields.learn(TENANT, collection.uid, {"year": 1})
        await tx.documents.delete(TENANT, collection.uid, unpublished.document.document_id)
    await publish(cancelled)
    assert await _since(database, collection, 0) == [DocumentChange(1, "doc", 2, 3)]


async def test_since_limit_pages_through_the_log(
    database: Database, collection: Collection, submit: Submit, publish: Publish
) -> None:
    for number in range(5):
        await publish(await submit(f"doc-{number}"))
    found: list[int] = []
    while page := await _since(database, collection, found[-1] if found else 0, limit=2):
        assert len(page) <= 2
        found += [change.revision for change in page]
    assert found == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_since_revision_that_nobody_logged_is_a_gap(
    database: Database, collection: Collection, submit: Submit, publish: Publish, limit: int
) -> None:
    await publish(await submit("a"))
    async with database.transaction() as tx:
        assert await tx.collections.bump_revision(TENANT, collection.uid) == 2
    await publish(await submit("b"))
    assert await _since(database, collection, 0, limit=limit) == (
        [DocumentChange(1, "a", 1, 3)] if limit == 1 else None
    )
    assert await _since(database, collection, 1, limit=limit) is None
    assert await _since(database, collection, 2, limit=limit) == [DocumentChange(3, "b", 1, 3)]


async def test_since_revision_that_nobody_logged_at_the_end_is_a_gap(
    database: Database, collection: Collection, submit: Submit, publish: Publish
) -> None:
    await publish(await submit("a"))
    async with database.transaction() as tx:
        await tx.collections.bump_revision(TENANT, collection.uid)
    assert await _since(database, collection, 0) is None


async def test_since_revision_to_come_is_a_gap(database: Database, collection: Collection) -> None:
    assert await _since(database, collection, 0) == []
    assert await _since(database, collection, 1) is None


async def test_since_deleted_collection_is_not_found_and_its_log_is_gone(
    database: Database, collection: Collection, submit: Submit, publish: Publish
) -> None:
    await publish(await submit())
    async with database.transaction() as tx:
        await tx.collections.delete(TENANT, collection.id)
        again = await tx.collections.create(TENANT, NewCollection("papers"), embedding_model="m", dimension=4)
    with pytest.raises(NotFound):
        await _since(database, collection, 0)
    assert await _since(database, again, 0) == []
    async with database.snapshot() as tx:
        assert await tx.changes._read(TENANT, collection.uid, 0, 10) == []


async def test_publish_breaking_midway_logs_nothing(
    database: Database,
    collection: Collection,
    submit: Submit,
    publish: Publish,
    publication: Callable[..., Publication],
) -> None:
    job = await submit()

    async def publish_and_break() -> None:
        async with database.transaction() as tx:
            await tx.documents.publish(TENANT, job.id, publication())
            raise KeyError("power cut")

    with pytest.raises(KeyError):
        await publish_and_break()
    assert await _since(database, collection, 0) == []
    await publish(job)
    assert await _since(database, collection, 0) == [DocumentChange(1, "doc", 1, 3)]


async def test_add_keeps_the_latest_revisions_of_each_collection(
    database: Database,
    collection: Collection,
    submit: Submit,
    publish: Publish,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(changes, "KEPT_REVISIONS", 3)
    monkeypatch.setattr(changes, "PRUNING_INTERVAL", 4)
    async with database.transaction() as tx:
        other = await tx.collections.create(TENANT, NewCollection("other"), embedding_model="m", dimension=4)
        document = NewDocument("other", "doc")
        job = await tx.jobs.create(TENANT, other.uid, document, chunking=other.chunking)
    await publish(job)
    kept: list[int] = []
    for number in range(1, 10):
        await publish(await submit(f"doc-{number}"))
        async with database.snapshot() as tx:
            kept.append(len(await tx.changes._read(TENANT, collection.uid, 0, 100)))
    assert kept == [1, 2, 3, 3, 4, 5, 6, 3, 4]
    # 6 to 9 are left
    assert await _since(database, collection, 4) is None
    found = await _since(database, collection, 5)
    assert found is not None
    assert [change.revision for change in found] == [6, 7, 8, 9]
    assert await _since(database, other, 0) == [DocumentChange(1, "doc", 1, 3)]
