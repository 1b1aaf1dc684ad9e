from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from rag_server.domain.collection import CharacterChunking, Collection, NewCollection, TokenChunking
from rag_server.domain.document import NewDocument
from rag_server.domain.job import Job, JobState
from rag_server.domain.lexical import Bm25
from rag_server.domain.metadata import Metadata, MetadataType
from rag_server.domain.sweep import SweepKind
from rag_server.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from rag_server.metadata import Database

TENANT = "acme"
Submit = Callable[..., Awaitable[Job]]
Publish = Callable[..., Awaitable[Job]]


async def test_create_returns_what_get_returns(database: Database) -> None:
    new = NewCollection(
        id="papers",
        display_name="Papers",
        description="d",
        language="es",
        chunking=CharacterChunking(1000, 100),
        bm25=Bm25(k1=0.9, b=0.4),
        labels={"b": "2", "a": "1"},
        metadata_fields={"year": MetadataType.INTEGER, "author": MetadataType.STRING},
    )
    async with database.transaction() as tx:
        made = await tx.collections.create(TENANT, new, embedding_model="m", dimension=384)
    async with database.snapshot() as tx:
        assert await tx.collections.get(TENANT, "papers") == made
        assert await tx.collections.get_by_uid(TENANT, made.uid) == made
    assert (made.chunking, made.bm25, made.labels, made.metadata_fields) == (
        new.chunking,
        new.bm25,
        new.labels,
        new.metadata_fields,
    )
    assert (made.revision, made.document_count, made.chunk_count, made.dimension) == (0, 0, 0, 384)
    assert len(made.uid) == 32


async def test_create_taken_name_already_exists_and_transaction_goes_on(
    database: Database, collection: Collection
) -> None:
    async with database.transaction() as tx:
        with pytest.raises(AlreadyExists) as raised:
            await tx.collections.create(TENANT, NewCollection("papers"), embedding_model="x", dimension=8)
        await tx.collections.create(TENANT, NewCollection("other"), embedding_model="x", dimension=8)
    assert raised.value.reason == "COLLECTION_ALREADY_EXISTS"
    async with database.snapshot() as tx:
        assert [found.id for found in await tx.collections.list(TENANT, limit=10)] == ["other", "papers"]
        assert await tx.collections.get(TENANT, "papers") == collection


async def test_get_absent_collection_is_not_found(database: Database) -> None:
    async with database.snapshot() as tx:
        with pytest.raises(NotFound) as by_name:
            await tx.collections.get(TENANT, "papers")
        with pytest.raises(NotFound):
            await tx.collections.get_by_uid(TENANT, "0" * 32)
    assert by_name.value.reason == "COLLECTION_NOT_FOUND"


async def test_list_pages_carry_their_fields(database: Database) -> None:
    async with database.transaction() as tx:
        for name, kind in (
            ("b", MetadataType.STRING),
            ("a", MetadataType.DOUBLE),
            ("c", MetadataType.BOOLEAN),
        ):
            new = NewCollection(name, metadata_fields={"f": kind})
            await tx.collections.create(TENANT, new, embedding_model="m", dimension=4)
    async with database.snapshot() as tx:
        first = await tx.collections.list(TENANT, limit=2)
        rest = await tx.collections.list(TENANT, after_id=first[-1].id, limit=2)
    assert [(found.id, found.metadata_fields["f"]) for found in (*first, *rest)] == [
        ("a", MetadataType.DOUBLE),
        ("b", MetadataType.STRING),
        ("c", MetadataType.BOOLEAN),
    ]


async def test_update_changes_only_what_is_given(database: Database, collection: Collection) -> None:
    async with database.transaction() as tx:
        await tx.collections.update(TENANT, "papers", display_name="P", labels={"a": "1"})
        changed = await tx.collections.update(TENANT, "papers", description="d")
        with pytest.raises(NotFound):
            await tx.collections.update(TENANT, "absent", description="d")
    assert (changed.display_name, changed.description, changed.labels) == ("P", "d", {"a": "1"})
    assert changed.update_time > collection.update_time
    assert (changed.uid, changed.revision) == (collection.uid, 0)


async def test_bump_revision_adds_up(database: Database, collection: Collection) -> None:
    async with database.transaction() as tx:
        assert await tx.collections.bump_revision(TENANT, collection.uid, documents=2, chunks=9) == 1
        assert await tx.collections.bump_revision(TENANT, collection.uid, documents=-1, chunks=-4) == 2
        found = await tx.collections.get(TENANT, "papers")
    assert (found.revision, found.document_count, found.chunk_count) == (2, 1, 5)


async def test_delete_removes_documents_cancels_jobs_and_leaves_sweeps(
    database: Database, collection: Collection, submit: Submit, publish: Publish
) -> None:
    done = await submit("a", metadata={"year": 1})
    await publish(done)
    queued, running = await submit("b", sha256="b" * 64), await submit("c", sha256="")
    async with database.transaction() as tx:
        await tx.metadata_fields.learn(TENANT, collection.uid, {"year": 1})
        await tx.jobs.change(TENANT, running.id, state=JobState.EMBEDDING)
    async with database.transaction() as tx:
        assert await tx.collections.delete(TENANT, "papers") == collection.uid
    async with database.snapshot() as tx:
        with pytest.raises(NotFound):
            await tx.collections.get(TENANT, "papers")
        assert await tx.documents.list(TENANT, collection.uid, limit=10) == []
        assert await tx.metadata_fields.of_collections(TENANT, [collection.uid]) == {collection.uid: {}}
        states = {job.id: job.state for job in await tx.jobs.list(TENANT, limit=10)}
        sweeps = await tx.sweeps.next_batch(limit=100)
        assert (await tx.jobs.events_after(TENANT, running.id, 2))[-1].state is JobState.CANCELLED
        with pytest.raises(NotFound):
            await tx.collections.of_job(TENANT, done.id)
        assert not await tx.blobs.is_referenced(TENANT, "a" * 64)
    assert states == {
        done.id: JobState.SUCCEEDED,
        queued.id: JobState.CANCELLED,
        running.id: JobState.CANCELLED,
    }
    assert collection.uid in {sweep.collection_uid for sweep in sweeps if sweep.kind is SweepKind.COLLECTION}
    assert {sweep.sha256 for sweep in sweeps if sweep.kind is SweepKind.BLOB} == {"a" * 64, "b" * 64}
    with pytest.raises(FailedPrecondition):
        await publish(running)


async def test_delete_then_create_again_is_another_collection(
    database: Database, collection: Collection, submit: Submit, publish: Publish
) -> None:
    await publish(await submit())
    async with database.transaction() as tx:
        await tx.collections.delete(TENANT, "papers")
        again = await tx.collections.create(TENANT, NewCollection("papers"), embedding_model="m", dimension=4)
        assert again.uid != collection.uid
        assert (again.document_count, again.metadata_fields) == (0, {})
        job = await tx.jobs.create(TENANT, again.uid, NewDocument("papers", "doc"), chunking=TokenChunking())
        with pytest.raises(NotFound):
            await tx.collections.delete(TENANT, "absent")
    assert job.document_revision == 1


async def test_learn_new_fields_are_fixed_and_mismatches_name_every_field(
    database: Database, collection: Collection
) -> None:
    async with database.transaction() as tx:
        await tx.metadata_fields.declare(TENANT, collection.uid, {"score": MetadataType.DOUBLE})
        await tx.metadata_fields.learn(TENANT, collection.uid, {"year": 2020, "score": 1, "tags": ()})
        await tx.metadata_fields.learn(TENANT, collection.uid, {"year": 2021, "score": 0.5, "tags": ("a",)})
        wrong: Metadata = {"year": "x", "score": True, "tags": ("b",), "new": "kept out"}
        with pytest.raises(InvalidArgument) as raised:
            await tx.metadata_fields.learn(TENANT, collection.uid, wrong, path="documents[2].metadata")
        found = await tx.collections.get(TENANT, "papers")
    assert raised.value.reason == "METADATA_TYPE_MISMATCH"
    assert [violation.field for violation in raised.value.violations] == [
        "documents[2].metadata.year",
        "documents[2].metadata.score",
    ]
    assert found.metadata_fields == {
        "score": MetadataType.DOUBLE,
        "tags": MetadataType.STRING_LIST,
        "year": MetadataType.INTEGER,
    }


async def test_learn_types_fixes_new_fields_and_names_those_of_another_type(
    database: Database, collection: Collection
) -> None:
    integer, double = MetadataType.INTEGER, MetadataType.DOUBLE
    async with database.transaction() as tx:
        await tx.metadata_fields.declare(TENANT, collection.uid, {"score": double, "year": integer})
        await tx.metadata_fields.learn_types(
            TENANT, collection.uid, {"score": integer, "price": double}, path="records.fields"
        )
        with pytest.raises(InvalidArgument) as raised:
            await tx.metadata_fields.learn_types(
                TENANT, collection.uid, {"year": double, "new": double}, path="records.fields"
            )
        found = await tx.collections.get(TENANT, "papers")
    assert raised.value.reason == "METADATA_TYPE_MISMATCH"
    (violation,) = raised.value.violations
    assert (violation.field, "'year'" in violation.description) == ("records.fields", True)
    assert found.metadata_fields == {"score": double, "year": integer, "price": double}


async def test_learn_unknown_collection_is_not_found(database: Database) -> None:
    async with database.transaction() as tx:
        with pytest.raises(NotFound):
            await tx.metadata_fields.learn(TENANT, "0" * 32, {"a": 1})
