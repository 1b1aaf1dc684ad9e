"""History: the revisions of a document whose bytes are kept, the visible one and some before it.

A row is written in the transaction that makes a revision visible, so the newest row of a document is that of
its visible revision. The bytes that the rows name are kept as long as the rows are.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, select, update
from sqlmodel import col

from rag_server.domain.document import NewDocument
from rag_server.domain.publication import Publication
from rag_server.domain.revision import DocumentRevision
from rag_server.errors import NotFound
from rag_server.metadata.codecs import cutting_from_json, metadata_from_json
from rag_server.metadata.session import Scope
from rag_server.metadata.sweeps import SweepRepository
from rag_server.metadata.tables import JobRow, KeptRevisionRow


class HistoryRepository:
    """Kept revisions."""

    def __init__(self, scope: Scope, sweeps: SweepRepository) -> None:
        self._scope = scope
        self._sweeps = sweeps

    async def get(
        self, tenant_id: str, collection_uid: str, document_id: str, revision: int, *, collection_id: str = ""
    ) -> DocumentRevision:
        """Return a revision that is kept. Raises `NotFound`.

        `collection_id` is put into its `document`, since the row does not hold it.
        """
        found = await self._select(tenant_id, collection_uid, document_id, revision + 1, 1)
        if not found or found[0].revision != revision:
            raise NotFound.for_resource("revision", f"{document_id}@{revision}")
        return _to_domain(found[0], collection_id)

    async def newest(
        self, tenant_id: str, collection_uid: str, document_id: str, *, collection_id: str = ""
    ) -> DocumentRevision | None:
        """Return the visible revision; None: there is none."""
        found = await self._select(tenant_id, collection_uid, document_id, None, 1)
        return _to_domain(found[0], collection_id) if found else None

    async def list(
        self,
        tenant_id: str,
        collection_uid: str,
        document_id: str,
        *,
        before: int | None = None,
        limit: int,
        collection_id: str = "",
    ) -> list[DocumentRevision]:
        """Return the kept revisions of a document, newest first, from before `before` on."""
        rows = await self._select(tenant_id, collection_uid, document_id, before, limit)
        return [_to_domain(row, collection_id) for row in rows]

    async def blobs(
        self, tenant_id: str, collection_uid: str, *, after_sha256: str = "", limit: int
    ) -> Sequence[tuple[str, int]]:
        """Return the digests that a collection's revisions need, in order, each once, with the sizes."""
        statement = (
            select(col(KeptRevisionRow.sha256), col(KeptRevisionRow.size_bytes))
            .where(
                col(KeptRevisionRow.tenant_id) == tenant_id,
                col(KeptRevisionRow.collection_uid) == collection_uid,
                col(KeptRevisionRow.sha256) > after_sha256,
            )
            .distinct()
            .order_by(col(KeptRevisionRow.sha256))
            .limit(limit)
        )
        return [(row.sha256, row.size_bytes) for row in await self._scope.session.execute(statement)]

    async def distrust(self, tenant_id: str, collection_uid: str, document_id: str, revision: int) -> None:
        """Note that the chunks of a revision are not whole: the same content is not skipped next time."""
        await self._scope.session.execute(
            update(KeptRevisionRow)
            .where(
                *_of_document(tenant_id, collection_uid, document_id),
                col(KeptRevisionRow.revision) == revision,
            )
            .values(recipe="")
        )

    async def add(self, tenant_id: str, job: JobRow, publication: Publication, *, kept: int) -> None:
        """Record what the job makes visible, and forget all but the `kept` newest; their bytes are swept.

        For this package only: the caller holds the collection's lock.
        """
        row = KeptRevisionRow(
            tenant_id=tenant_id,
            collection_uid=job.collection_uid,
            document_id=job.document_id,
            revision=job.document_revision,
            title=publication.title,
            declared_title=job.document["title"],
            source_uri=job.document["source_uri"],
            file_name=job.document["file_name"],
            media_type=publication.media_type,
            declared_type=job.document["media_type"],
            sha256=publication.sha256,
            size_bytes=publication.size_bytes,
            language=publication.language,
            fields=job.document["metadata"],
            chunk_count=publication.chunk_count,
            token_count=publication.token_count,
            page_count=publication.page_count,
            chunking=job.chunking,
            recipe=publication.recipe,
            create_time=self._scope.clock(),
        )
        self._scope.session.add(row)
        await self._scope.session.flush()
        rows = await self._select(tenant_id, job.collection_uid, job.document_id, None, None)
        await self._forget(tenant_id, job.collection_uid, job.document_id, rows[kept:])

    async def forget(self, tenant_id: str, collection_uid: str, document_id: str) -> None:
        """Forget all revisions of a document, and have their bytes swept."""
        rows = await self._select(tenant_id, collection_uid, document_id, None, None)
        await self._forget(tenant_id, collection_uid, document_id, rows)

    async def _forget(
        self, tenant_id: str, collection_uid: str, document_id: str, rows: Sequence[KeptRevisionRow]
    ) -> None:
        for sha256 in dict.fromkeys(row.sha256 for row in rows):
            await self._sweeps.add_blob(tenant_id, sha256)
        if rows:
            await self._scope.session.execute(
                delete(KeptRevisionRow).where(
                    *_of_document(tenant_id, collection_uid, document_id),
                    col(KeptRevisionRow.revision) <= rows[0].revision,
                )
            )

    async def _select(
        self, tenant_id: str, collection_uid: str, document_id: str, before: int | None, limit: int | None
    ) -> Sequence[KeptRevisionRow]:
        statement = select(KeptRevisionRow).where(*_of_document(tenant_id, collection_uid, document_id))
        if before is not None:
            statement = statement.where(col(KeptRevisionRow.revision) < before)
        statement = statement.order_by(col(KeptRevisionRow.revision).desc()).limit(limit)
        return (await self._scope.session.scalars(statement)).all()


def _of_document(tenant_id: str, collection_uid: str, document_id: str) -> tuple[ColumnElement[bool], ...]:
    return (
        col(KeptRevisionRow.tenant_id) == tenant_id,
        col(KeptRevisionRow.collection_uid) == collection_uid,
        col(KeptRevisionRow.document_id) == document_id,
    )


def _to_domain(row: KeptRevisionRow, collection_id: str) -> DocumentRevision:
    return DocumentRevision(
        document=NewDocument(
            collection_id=collection_id,
            document_id=row.document_id,
            title=row.declared_title,
            source_uri=row.source_uri,
            file_name=row.file_name,
            media_type=row.declared_type,
            metadata=metadata_from_json(row.fields),
        ),
        revision=row.revision,
        title=row.title,
        media_type=row.media_type,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        language=row.language,
        chunk_count=row.chunk_count,
        token_count=row.token_count,
        page_count=row.page_count,
        chunking=cutting_from_json(row.chunking),
        recipe=row.recipe,
        create_time=row.create_time,
    )
