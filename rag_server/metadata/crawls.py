"""Crawls: one at a time in a collection, where each stands, and the pages of the last one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, delete, exists, func, select
from sqlmodel import col

from rag_server.domain.collection import Chunking
from rag_server.domain.crawl import CrawledPage, CrawlRequest
from rag_server.domain.document import NewDocument
from rag_server.domain.job import Job, JobKind, Waiting
from rag_server.domain.priority import Priority
from rag_server.errors import ResourceExhausted
from rag_server.metadata.jobs import JobRepository
from rag_server.metadata.outbox import OutboxRepository
from rag_server.metadata.session import Scope
from rag_server.metadata.tables import (
    UNFINISHED_STATES,
    CrawledPageRow,
    CrawlStateRow,
    DocumentRow,
    JobRow,
)

MAX_WAITING = 100
"""Crawls of one collection that wait for their turn."""
MAX_PAGES = 20_000
"""Pages of earlier crawls that a crawl is told of; of more, those later by their keys are new to it."""


class CrawlRepository:
    """Crawls of a tenant's collections."""

    def __init__(self, scope: Scope, jobs: JobRepository, outbox: OutboxRepository) -> None:
        self._scope = scope
        self._jobs = jobs
        self._outbox = outbox
        jobs.on_final(self._follow)

    async def create(
        self,
        tenant_id: str,
        collection_uid: str,
        collection_id: str,
        request: CrawlRequest,
        *,
        chunking: Chunking,
        request_id: str = "",
        trace_parent: str = "",
    ) -> Job:
        """Accept a crawl, which waits when another one of the collection has not ended.

        Raises `NotFound` (collection) and `ResourceExhausted` (`JOB_QUEUE_FULL`) when `MAX_WAITING` wait.
        """
        waiting = await self.turn(tenant_id, collection_uid)
        await self._check_room(tenant_id, collection_uid)
        return await self._jobs.create(
            tenant_id,
            collection_uid,
            NewDocument(collection_id, "", metadata=request.metadata),
            chunking=chunking,
            request_id=request_id,
            priority=Priority.BULK,
            trace_parent=trace_parent,
            crawl=request,
            waiting=waiting,
        )

    async def turn(self, tenant_id: str, collection_uid: str, *, besides: str = "") -> Waiting:
        """Return whether a new crawl has to wait. Raises `NotFound` for the collection.

        The crawls that have not ended are locked: of this and the end of the last one, whichever comes
        second sees the other. The crawl `besides` does not count.
        """
        await self._scope.lock_collection(tenant_id, collection_uid)
        statement = (
            select(col(JobRow.id))
            .where(*_unfinished_crawl(tenant_id, collection_uid), col(JobRow.id) != besides)
            .order_by(col(JobRow.id))
            .with_for_update()
        )
        is_busy = bool((await self._scope.session.scalars(statement)).all())
        return Waiting.FOR_CRAWL if is_busy else Waiting.FOR_NOTHING

    async def _check_room(self, tenant_id: str, collection_uid: str) -> None:
        statement = (
            select(func.count())
            .select_from(JobRow)
            .where(
                *_unfinished_crawl(tenant_id, collection_uid),
                col(JobRow.waiting) == Waiting.FOR_CRAWL.value,
            )
        )
        if (await self._scope.session.scalars(statement)).one() >= MAX_WAITING:
            raise ResourceExhausted(
                "JOB_QUEUE_FULL",
                f"{MAX_WAITING} crawls of the collection wait already: come back later",
                metadata={"limit": str(MAX_WAITING)},
                retry_after_s=60.0,
            )

    async def _follow(self, row: JobRow) -> None:
        """Have the crawl that waits longest start when the one before it has ended."""
        if row.kind != JobKind.CRAWL:
            return
        crawls = _unfinished_crawl(row.tenant_id, row.collection_uid)
        is_waiting = col(JobRow.waiting) == Waiting.FOR_CRAWL.value
        running = select(exists().where(*crawls, ~is_waiting, col(JobRow.id) != row.id))
        if await self._scope.session.scalar(running):
            return
        # all of them, since a lock that was waited for may show that the first one has ended meanwhile
        statement = (
            select(JobRow).where(*crawls, is_waiting).order_by(col(JobRow.create_time), col(JobRow.id))
        )
        locked = statement.with_for_update().execution_options(populate_existing=True)
        waiting = (await self._scope.session.scalars(locked)).all()
        if waiting:
            waiting[0].waiting = Waiting.FOR_NOTHING.value
            await self._jobs.record_change(waiting[0])
            await self._outbox.add(row.tenant_id, waiting[0].id, Priority(waiting[0].priority))

    async def save_state(self, tenant_id: str, job_id: str, state: bytes) -> None:
        """Record where a crawl stands. Raises `NotFound` for the job."""
        await self._jobs.row(tenant_id, job_id)
        await self._scope.session.merge(CrawlStateRow(tenant_id=tenant_id, job_id=job_id, state=state))
        await self._scope.session.flush()

    async def state(self, tenant_id: str, job_id: str) -> bytes | None:
        """Return where a crawl stood; None: at its beginning."""
        statement = select(col(CrawlStateRow.state)).where(
            col(CrawlStateRow.tenant_id) == tenant_id, col(CrawlStateRow.job_id) == job_id
        )
        return (await self._scope.session.scalars(statement)).one_or_none()

    async def pages(self, tenant_id: str, collection_uid: str) -> Sequence[tuple[CrawledPage, bool]]:
        """Return the pages of earlier crawls, each with whether its document still has that content."""
        is_current = and_(
            col(DocumentRow.tenant_id) == col(CrawledPageRow.tenant_id),
            col(DocumentRow.collection_uid) == col(CrawledPageRow.collection_uid),
            col(DocumentRow.id) == col(CrawledPageRow.document_id),
            col(DocumentRow.sha256) == col(CrawledPageRow.digest),
        )
        statement = (
            select(CrawledPageRow, col(DocumentRow.id))
            .outerjoin(DocumentRow, is_current)
            .where(
                col(CrawledPageRow.tenant_id) == tenant_id,
                col(CrawledPageRow.collection_uid) == collection_uid,
            )
            .order_by(col(CrawledPageRow.url_key))
            .limit(MAX_PAGES)
        )
        found = await self._scope.session.execute(statement)
        return [(_to_domain(row), document_id is not None) for row, document_id in found]

    async def put_page(self, tenant_id: str, collection_uid: str, page: CrawledPage) -> None:
        """Remember a page as it is now. Raises `NotFound` for the collection."""
        await self._scope.lock_collection(tenant_id, collection_uid)
        row = CrawledPageRow(
            tenant_id=tenant_id,
            collection_uid=collection_uid,
            url_key=_key(page.url),
            url=page.url,
            document_id=page.document_id,
            etag=page.etag,
            last_modified=page.last_modified,
            digest=page.digest,
            depth=page.depth,
            canonical_url=page.canonical_url,
            links=list(page.links),
            options_digest=page.options_digest,
        )
        await self._scope.session.merge(row)
        await self._scope.session.flush()

    async def forget_page(self, tenant_id: str, collection_uid: str, url: str) -> str | None:
        """Forget a page; return the document that it became, None when it is not known."""
        statement = (
            delete(CrawledPageRow)
            .where(
                col(CrawledPageRow.tenant_id) == tenant_id,
                col(CrawledPageRow.collection_uid) == collection_uid,
                col(CrawledPageRow.url_key) == _key(url),
            )
            .returning(col(CrawledPageRow.document_id))
        )
        return (await self._scope.session.scalars(statement)).one_or_none()

    async def is_page_of(self, tenant_id: str, collection_uid: str, document_id: str) -> bool:
        """Whether a page that is remembered became this document."""
        statement = select(
            exists().where(
                col(CrawledPageRow.tenant_id) == tenant_id,
                col(CrawledPageRow.collection_uid) == collection_uid,
                col(CrawledPageRow.document_id) == document_id,
            )
        )
        return bool(await self._scope.session.scalar(statement))


def _unfinished_crawl(tenant_id: str, collection_uid: str) -> tuple[ColumnElement[bool], ...]:
    return (
        col(JobRow.tenant_id) == tenant_id,
        col(JobRow.collection_uid) == collection_uid,
        col(JobRow.kind) == JobKind.CRAWL.value,
        col(JobRow.state).in_(UNFINISHED_STATES),
    )


def _key(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:32]


def _to_domain(row: CrawledPageRow) -> CrawledPage:
    return CrawledPage(
        url=row.url,
        document_id=row.document_id,
        etag=row.etag,
        last_modified=row.last_modified,
        digest=row.digest,
        depth=row.depth,
        canonical_url=row.canonical_url,
        links=tuple(row.links),
        options_digest=row.options_digest,
    )
