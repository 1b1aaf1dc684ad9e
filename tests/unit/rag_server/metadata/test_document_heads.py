from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from rag_server.domain.collection import Collection
from rag_server.domain.document import Document, DocumentHead
from rag_server.domain.job import Job
from rag_server.domain.metadata import Metadata
from rag_server.metadata import Database
from rag_server.metadata.session import IDS_PER_STATEMENT

TENANT = "acme"
Submit = Callable[..., Awaitable[Job]]
Publish = Callable[..., Awaitable[Job]]

METADATA: Metadata = {
    "year": 2020,
    "score": 1.0,
    "draft": False,
    "when": datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    "tags": ("a", "b"),
    "name": "ñ",
}


def head_of(document: Document) -> DocumentHead:
    return DocumentHead(
        id=document.id,
        revision=document.revision,
        title=document.title,
        source_uri=document.source_uri,
        media_type=document.media_type,
        metadata=document.metadata,
        chunk_count=document.chunk_count,
    )


async def test_scan_gives_the_head_of_what_get_returns(
    database: Database, collection: Collection, submit: Submit, publish: Publish
) -> None:
    await publish(await submit())
    await publish(await submit(metadata=METADATA), chunks=8)
    async with database.snapshot() as tx:
        (head,) = await tx.documents.scan(TENANT, collection.uid, limit=10)
        document = await tx.documents.get(TENANT, collection.uid, "doc")
    assert head == head_of(document)
    assert (head.revision, head.chunk_count, head.metadata) == (2, 8, METADATA)
    types = {name: type(value) for name, value in head.metadata.items()}
    assert types == {name: type(value) for name, value in METADATA.items()}


async def test_scan_pages_are_ordered_and_complete(
    database: Database, collection: Collection, submit: Submit, publish: Publish
) -> None:
    for name in ("c", "a", "b"):
        await publish(await submit(name))
    await submit("unpublished")
    async with database.snapshot() as tx:
        first = await tx.documents.scan(TENANT, collection.uid, limit=2)
        second = await tx.documents.scan(TENANT, collection.uid, after_id=first[-1].id, limit=2)
        assert not await tx.documents.scan(TENANT, "0" * 32, limit=2)
    assert [head.id for head in (*first, *second)] == ["a", "b", "c"]


async def test_heads_of_many_ids_returns_only_visible(
    database: Database, collection: Collection, submit: Submit, publish: Publish
) -> None:
    last = f"doc-{IDS_PER_STATEMENT + 200}"
    for name in ("doc-3", last):
        await publish(await submit(name, metadata={"name": name}))
    await submit("doc-5")
    async with database.snapshot() as tx:
        ids = [f"doc-{number}" for number in range(IDS_PER_STATEMENT + 300)]
        found = await tx.documents.heads_of(TENANT, collection.uid, [*ids, *ids])
        assert await tx.documents.heads_of(TENANT, collection.uid, []) == {}
        heads = await tx.documents.scan(TENANT, collection.uid, limit=10)
    assert found == {head.id: head for head in heads}
    assert {head.id: head.metadata for head in heads} == {name: {"name": name} for name in ("doc-3", last)}


async def test_scan_in_a_transaction_sees_what_it_has_written(
    database: Database, collection: Collection, submit: Submit, publish: Publish
) -> None:
    await publish(await submit("a"))
    await publish(await submit("b"))
    async with database.transaction() as tx:
        await tx.documents.delete(TENANT, collection.uid, "a")
        assert [head.id for head in await tx.documents.scan(TENANT, collection.uid, limit=10)] == ["b"]
