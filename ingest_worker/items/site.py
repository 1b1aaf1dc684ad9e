"""A crawl as a job: every page becomes a document, and the crawl can be taken up again where it stood."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace

import structlog

from ingest_worker.cancelled import JobCancelled
from ingest_worker.crawl import (
    Crawler,
    CrawlLimits,
    CrawlRun,
    CrawlSpec,
    CrawlState,
    KnownPage,
    Outcome,
    PageResult,
)
from ingest_worker.items.hand_in import ItemDesk
from ingest_worker.lease import HeldLease
from rag_server.domain.crawl import CrawledPage, CrawlRequest
from rag_server.domain.document import NewDocument
from rag_server.domain.job import Job
from rag_server.domain.naming import document_id_for
from rag_server.errors import NotFound
from rag_server.metadata.codecs import cutting_to_json, metadata_to_json
from rag_server.metadata.database import Database, Transaction
from rag_server.metadata.parents import ItemOutcome

log = structlog.get_logger()

_SAVE_INTERVAL_S = 2.0
_MAX_LINKS = 1_000
"""Links of a page that are remembered, to be followed should the page not change."""
_MAX_NAME = 255
_MAX_SOURCE_URI = 2048
_OUTCOMES = {
    Outcome.UNCHANGED: ItemOutcome.UNCHANGED,
    Outcome.SKIPPED: ItemOutcome.SKIPPED,
    Outcome.GONE: ItemOutcome.GONE,
    Outcome.FAILED: ItemOutcome.FAILED,
}


@dataclass(frozen=True, slots=True)
class SiteCrawl:
    """Crawls sites for jobs. Holds no state of its own: it is all in the database."""

    database: Database
    desk: ItemDesk
    crawler: Crawler
    limits: CrawlLimits
    """Of every crawl; the request sets pages and depth."""
    slice_s: float
    """After so long a crawl lets other jobs have its place, and goes on later."""

    async def run(self, job: Job, lease: HeldLease) -> Job:
        """Crawl for a while; return `job`: FETCHING where it has to go on, else waiting for its pages' jobs.

        Raises what may pass, `JobCancelled` and `LeaseLost`.
        """
        assert job.crawl is not None
        if job.cancel_requested:
            raise JobCancelled
        spec = spec_of(job.crawl, self.limits)
        async with self.database.snapshot() as tx:
            collection = await tx.collections.of_job(job.tenant_id, job.id)
            saved = await tx.crawls.state(job.tenant_id, job.id)
            pages = await tx.crawls.pages(job.tenant_id, collection.uid)
        visit = _Visit(self.desk, job, job.crawl, lease, collection.uid, _options_digest(job))
        known = await asyncio.to_thread(visit.known, pages)
        async with self.crawler.crawl(spec, known=known, state=_state_of(saved)) as run:
            is_done = await self._take_pages(run, visit)
            state = b"" if is_done else await asyncio.to_thread(run.state().to_bytes)
        async with lease.transaction() as tx:
            if is_done:
                log.info("crawl found all", stopped_by=run.stop_reason, pages=run.taken)
                left = await tx.parents.all_found(job.tenant_id, job.id)
            else:
                await tx.crawls.save_state(job.tenant_id, job.id, state)
                # a start that got on is none of those that go wrong
                left = await tx.jobs.change(job.tenant_id, job.id, attempt_count=0)
            await lease.release(tx)
        return left

    async def _take_pages(self, run: CrawlRun, visit: _Visit) -> bool:
        """Take pages until all are, or the time is over; return whether all are."""
        end_s = time.monotonic() + self.slice_s
        saved_s = time.monotonic()
        async for page in run:
            state = None
            if time.monotonic() >= saved_s + _SAVE_INTERVAL_S:
                state = await asyncio.to_thread(run.state().to_bytes)
                saved_s = time.monotonic()
            await visit.take(page, state)
            if time.monotonic() >= end_s:
                run.pause()
        return run.stop_reason is not None


@dataclass(frozen=True, slots=True)
class _Visit:
    """One crawl's job, and what is recorded of each of its pages."""

    desk: ItemDesk
    job: Job
    request: CrawlRequest
    lease: HeldLease
    collection_uid: str
    options_digest: str

    def known(self, pages: Iterable[tuple[CrawledPage, bool]]) -> list[KnownPage]:
        """Return the pages of earlier crawls, asked for conditionally where nothing else changed."""
        return [
            _known(page, is_same=is_current and page.options_digest == self.options_digest)
            for page, is_current in pages
        ]

    async def take(self, page: PageResult, state: bytes | None) -> None:
        """Record a page, and where the crawl stands now, in one transaction."""
        tenant_id = self.job.tenant_id

        async def beside(tx: Transaction) -> None:
            if state is not None:
                await tx.crawls.save_state(tenant_id, self.job.id, state)
            if page.outcome is Outcome.FETCHED:
                await tx.crawls.put_page(tenant_id, self.collection_uid, self._remembered(page))
            # after that: the page may have become the document of the one that is gone
            if page.moved_from:
                await self._forget(tx, page.moved_from)
            if page.outcome is Outcome.GONE:
                await self._forget(tx, page.url)

        if page.outcome is Outcome.FETCHED:
            await self.desk.hand_in(
                self.job, self.lease, page.url, self._document(page), _whole(page.data), beside=beside
            )
        else:
            await self.desk.record(
                self.job, self.lease, page.url, _OUTCOMES[page.outcome], page.error, beside=beside
            )

    async def _forget(self, tx: Transaction, url: str) -> None:
        """Forget a page that is no more, and where it is asked for delete its document."""
        if not self.request.delete_gone:
            return
        document_id = await tx.crawls.forget_page(self.job.tenant_id, self.collection_uid, url)
        if document_id is None:
            return
        if not await tx.crawls.is_page_of(self.job.tenant_id, self.collection_uid, document_id):
            try:
                await tx.documents.delete(self.job.tenant_id, self.collection_uid, document_id)
            except NotFound:
                log.info("document of a page that is gone was deleted already", document=document_id)

    def _document(self, page: PageResult) -> NewDocument:
        return NewDocument(
            collection_id=self.job.document.collection_id,
            document_id=_document_id(page),
            source_uri=page.canonical_url[:_MAX_SOURCE_URI],
            file_name=page.file_name[:_MAX_NAME],
            media_type=page.media_type,
            metadata=self.request.metadata,
        )

    def _remembered(self, page: PageResult) -> CrawledPage:
        return CrawledPage(
            url=page.url,
            document_id=_document_id(page),
            etag=page.etag,
            last_modified=page.last_modified,
            digest=page.digest,
            depth=page.depth,
            canonical_url=page.canonical_url,
            links=page.links[:_MAX_LINKS],
            options_digest=self.options_digest,
        )


def spec_of(request: CrawlRequest, limits: CrawlLimits) -> CrawlSpec:
    """Return what the crawler is told. Raises `InvalidArgument`, naming the field of the request."""
    return CrawlSpec(
        start_urls=request.start_urls,
        hosts=request.hosts,
        include=request.include,
        exclude=request.exclude,
        include_documents=request.include_documents,
        use_sitemaps=not request.ignore_sitemaps,
        limits=replace(limits, max_pages=request.max_pages, max_depth=request.max_depth),
    )


def _state_of(saved: bytes | None) -> CrawlState | None:
    if saved is None:
        return None
    try:
        return CrawlState.from_bytes(saved)
    except ValueError as error:
        log.warning("state of the crawl cannot be read: it begins anew", why=str(error))
        return None


def _document_id(page: PageResult) -> str:
    return document_id_for(page.canonical_url)


def _known(page: CrawledPage, *, is_same: bool) -> KnownPage:
    """Return what the crawler knows of a page; without what makes a request conditional unless `is_same`."""
    return KnownPage(
        url=page.url,
        etag=page.etag if is_same else "",
        last_modified=page.last_modified if is_same else "",
        digest=page.digest if is_same else "",
        depth=page.depth,
        canonical_url=page.canonical_url,
        links=page.links,
    )


def _options_digest(job: Job) -> str:
    """Return a digest of how pages are handed in: with other metadata, a page is another revision."""
    options = [metadata_to_json(job.document.metadata), cutting_to_json(job.chunking)]
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:32]


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data
