"""Collections: the named sets, their revision and their counts."""

from __future__ import annotations

from collections.abc import Collection as Container
from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, delete, select
from sqlmodel import col

from rag_server.domain.change import CollectionChange
from rag_server.domain.collection import Chunking, Collection, NewCollection
from rag_server.domain.ids import new_id
from rag_server.domain.metadata import MetadataType
from rag_server.errors import AlreadyExists, NotFound
from rag_server.metadata.codecs import bm25_from_json, bm25_to_json, chunking_from_json, chunking_to_json
from rag_server.metadata.jobs import JobRepository
from rag_server.metadata.metadata_fields import MetadataFieldRepository
from rag_server.metadata.session import IDS_PER_STATEMENT, Scope
from rag_server.metadata.sweeps import SweepRepository
from rag_server.metadata.tables import CollectionRow, KeptRevisionRow


class CollectionRepository:
    """Collections of a tenant."""

    def __init__(
        self, scope: Scope, fields: MetadataFieldRepository, jobs: JobRepository, sweeps: SweepRepository
    ) -> None:
        self._scope = scope
        self._fields = fields
        self._jobs = jobs
        self._sweeps = sweeps

    async def create(
        self, tenant_id: str, new: NewCollection, *, embedding_model: str, dimension: int
    ) -> Collection:
        """Create an empty collection. Raises `AlreadyExists` (`COLLECTION_ALREADY_EXISTS`)."""
        now = self._scope.clock()
        row = CollectionRow(
            tenant_id=tenant_id,
            id=new.id,
            uid=new_id(),
            display_name=new.display_name,
            description=new.description,
            language=new.language,
            embedding_model=embedding_model,
            dimension=dimension,
            chunking=chunking_to_json(new.chunking),
            bm25=bm25_to_json(new.bm25),
            labels=dict(new.labels),
            revision=0,
            document_count=0,
            chunk_count=0,
            create_time=now,
            update_time=now,
        )
        if not await self._scope.insert_if_absent(row):
            raise AlreadyExists(
                "COLLECTION_ALREADY_EXISTS",
                f"there is a collection {new.id!r} already",
                metadata={"resource": "collection", "id": new.id},
            )
        self._scope.touched.touch(row.uid)
        await self._fields.declare(tenant_id, row.uid, new.metadata_fields)
        return _to_domain(row, new.metadata_fields)

    async def get(self, tenant_id: str, collection_id: str) -> Collection:
        """Return the collection of that name. Raises `NotFound`."""
        return await self._only(
            collection_id, col(CollectionRow.tenant_id) == tenant_id, col(CollectionRow.id) == collection_id
        )

    async def get_by_uid(self, tenant_id: str, collection_uid: str) -> Collection:
        """Return the collection with that uid. Raises `NotFound`."""
        return await self._only(
            collection_uid,
            col(CollectionRow.tenant_id) == tenant_id,
            col(CollectionRow.uid) == collection_uid,
        )

    async def of_job(self, tenant_id: str, job_id: str) -> Collection:
        """Return the collection that the job was accepted for, not a later one of the same name.

        Raises `NotFound` for the job, or for the collection when it has been deleted.
        """
        return await self.get_by_uid(tenant_id, await self._jobs.collection_uid(tenant_id, job_id))

    async def list(self, tenant_id: str, *, after_id: str = "", limit: int) -> list[Collection]:
        """Return collections by id, from after `after_id` on."""
        statement = (
            select(CollectionRow)
            .where(col(CollectionRow.tenant_id) == tenant_id, col(CollectionRow.id) > after_id)
            .order_by(col(CollectionRow.id))
            .limit(limit)
        )
        rows = (await self._scope.session.scalars(statement)).all()
        fields = await self._fields.of_collections(tenant_id, [row.uid for row in rows])
        return [_to_domain(row, fields[row.uid]) for row in rows]

    async def absent(self, tenant_id: str, collection_ids: Sequence[str]) -> Sequence[str]:
        """Return those of the names that no collection has, in their order."""
        statement = select(col(CollectionRow.id)).where(
            col(CollectionRow.tenant_id) == tenant_id, col(CollectionRow.id).in_(collection_ids)
        )
        found = set(await self._scope.session.scalars(statement)) if collection_ids else set()
        return [each for each in collection_ids if each not in found]

    async def update(
        self,
        tenant_id: str,
        collection_id: str,
        *,
        display_name: str | None = None,
        description: str | None = None,
        labels: dict[str, str] | None = None,
        chunking: Chunking | None = None,
        metadata_fields: Mapping[str, MetadataType] | None = None,
    ) -> Collection:
        """Change what is not None; `metadata_fields` are added to those that are known.

        Raises `NotFound`, and `InvalidArgument` (`METADATA_TYPE_MISMATCH`) for a field of another type.
        """
        row = await self._lock(tenant_id, collection_id)
        if display_name is not None:
            row.display_name = display_name
        if description is not None:
            row.description = description
        if labels is not None:
            row.labels = dict(labels)
        if chunking is not None:
            row.chunking = chunking_to_json(chunking)
        if metadata_fields is not None:
            await self._fields.add(tenant_id, row.uid, metadata_fields)
        row.update_time = self._scope.clock()
        self._scope.touched.touch(row.uid)
        await self._scope.session.flush()
        return await self.get(tenant_id, collection_id)

    async def delete(self, tenant_id: str, collection_id: str) -> str:
        """Delete a collection with its documents; return its uid. Raises `NotFound`.

        Unfinished jobs become CANCELLED. Jobs stay listed. Chunks and bytes are left to sweeps.
        """
        row = await self._lock(tenant_id, collection_id)
        uid = row.uid
        self._scope.touched.delete(row)
        await self._jobs.cancel_all_of_collection(tenant_id, uid)
        await self._sweeps.add_collection(tenant_id, uid)
        for sha256 in await self._blobs(tenant_id, uid):
            await self._sweeps.add_blob(tenant_id, sha256)
        # documents, fields, changes and revision counters go by their foreign keys
        await self._scope.session.execute(
            delete(CollectionRow).where(
                col(CollectionRow.tenant_id) == tenant_id, col(CollectionRow.uid) == uid
            )
        )
        return uid

    async def lock(self, tenant_id: str, collection_uid: str) -> None:
        """Have whoever changes the collection's documents or jobs wait for the end of this transaction.

        Raises `NotFound`.
        """
        await self._scope.lock_collection(tenant_id, collection_uid)

    async def bump_revision(
        self, tenant_id: str, collection_uid: str, *, documents: int = 0, chunks: int = 0
    ) -> int:
        """Count one visible change, and what it adds or (negative) takes away; return the new revision.

        The caller records the change (`ChangeRepository`): readers that catch up would miss it otherwise, and
        read the whole collection instead.
        """
        row = await self._scope.lock_collection(tenant_id, collection_uid)
        row.revision += 1
        row.document_count += documents
        row.chunk_count += chunks
        row.update_time = self._scope.clock()
        self._scope.touched.touch(collection_uid)
        await self._scope.session.flush()
        return row.revision

    async def changes_of(self, uids: Container[str]) -> Sequence[CollectionChange]:
        """Return where each of these collections of any tenants stands; of one that is gone only the uid.

        For whoever remembers them, and may have missed what happened to them.
        """
        ids = list(uids)
        found: dict[str, CollectionChange] = {}
        for start in range(0, len(ids), IDS_PER_STATEMENT):
            statement = select(
                col(CollectionRow.tenant_id),
                col(CollectionRow.id),
                col(CollectionRow.uid),
                col(CollectionRow.revision),
            ).where(col(CollectionRow.uid).in_(ids[start : start + IDS_PER_STATEMENT]))
            changes = [CollectionChange(*row) for row in await self._scope.session.execute(statement)]
            found.update((change.collection_uid, change) for change in changes)
        return [found.get(uid) or CollectionChange("", "", uid, None) for uid in ids]

    async def _blobs(self, tenant_id: str, uid: str) -> Sequence[str]:
        statement = (
            select(col(KeptRevisionRow.sha256))
            .where(col(KeptRevisionRow.tenant_id) == tenant_id, col(KeptRevisionRow.collection_uid) == uid)
            .distinct()
        )
        return (await self._scope.session.scalars(statement)).all()

    async def _only(self, name: str, *conditions: ColumnElement[bool]) -> Collection:
        row = (await self._scope.session.scalars(select(CollectionRow).where(*conditions))).one_or_none()
        if row is None:
            raise NotFound.for_resource("collection", name)
        fields = await self._fields.of_collections(row.tenant_id, [row.uid])
        return _to_domain(row, fields[row.uid])

    async def _lock(self, tenant_id: str, collection_id: str) -> CollectionRow:
        statement = (
            select(CollectionRow)
            .where(col(CollectionRow.tenant_id) == tenant_id, col(CollectionRow.id) == collection_id)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        row = (await self._scope.session.scalars(statement)).one_or_none()
        if row is None:
            raise NotFound.for_resource("collection", collection_id)
        return row


def _to_domain(row: CollectionRow, fields: dict[str, MetadataType]) -> Collection:
    return Collection(
        tenant_id=row.tenant_id,
        id=row.id,
        uid=row.uid,
        display_name=row.display_name,
        description=row.description,
        language=row.language,
        embedding_model=row.embedding_model,
        dimension=row.dimension,
        chunking=chunking_from_json(row.chunking),
        labels=dict(row.labels),
        metadata_fields=dict(sorted(fields.items())),
        revision=row.revision,
        document_count=row.document_count,
        chunk_count=row.chunk_count,
        create_time=row.create_time,
        update_time=row.update_time,
        bm25=bm25_from_json(row.bm25),
    )
