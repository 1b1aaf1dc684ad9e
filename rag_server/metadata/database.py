"""The metadata store: transactions, snapshots, and what they are made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from rag_server.concurrency import finish
from rag_server.domain.change import CollectionChange
from rag_server.domain.job import Job
from rag_server.logs import where_raised
from rag_server.metadata import schema
from rag_server.metadata.assistants import AssistantRepository
from rag_server.metadata.blobs import BlobRepository
from rag_server.metadata.changes import ChangeRepository
from rag_server.metadata.collections import CollectionRepository
from rag_server.metadata.conversations import ConversationRepository
from rag_server.metadata.crawls import CrawlRepository
from rag_server.metadata.documents import DocumentRepository
from rag_server.metadata.engine import create_reader, create_writer, prepare
from rag_server.metadata.failures import translated, unavailable
from rag_server.metadata.history import HistoryRepository
from rag_server.metadata.idempotency import IdempotencyRepository
from rag_server.metadata.jobs import JobRepository
from rag_server.metadata.leases import LeaseRepository
from rag_server.metadata.messages import MessageRepository
from rag_server.metadata.metadata_fields import MetadataFieldRepository
from rag_server.metadata.options import DEFAULT, ConnectionOptions
from rag_server.metadata.outbox import OutboxRepository
from rag_server.metadata.parents import ParentRepository
from rag_server.metadata.revival import RevivalRepository
from rag_server.metadata.session import Clock, Scope
from rag_server.metadata.summaries import SummaryRepository
from rag_server.metadata.sweeps import SweepRepository
from rag_server.metadata.turns import TurnRepository
from rag_server.metadata.uploads import UploadRepository
from rag_server.metadata.webhooks import WebhookRepository

log = structlog.get_logger()


def utc_now() -> datetime:
    """Return the time now."""
    return datetime.now(UTC)


class Transaction:
    """One unit of work: repositories that see, and make, the same changes."""

    def __init__(self, session: AsyncSession, clock: Clock) -> None:
        scope = Scope(session, clock)
        self.touched = scope.touched
        self.sweeps = SweepRepository(scope)
        self.blobs = BlobRepository(scope)
        self.uploads = UploadRepository(scope, self.sweeps)
        self.idempotency = IdempotencyRepository(scope)
        self.conversations = ConversationRepository(scope)
        self.messages = MessageRepository(scope)
        self.assistants = AssistantRepository(scope)
        self.turns = TurnRepository(scope, self.conversations)
        self.summaries = SummaryRepository(scope, self.conversations)
        self.metadata_fields = MetadataFieldRepository(scope)
        self.outbox = OutboxRepository(scope)
        self.webhooks = WebhookRepository(scope)
        self.jobs = JobRepository(scope, self.sweeps, self.outbox, self.webhooks)
        self.leases = LeaseRepository(scope, self.jobs)
        self.parents = ParentRepository(scope, self.jobs, self.sweeps)
        self.crawls = CrawlRepository(scope, self.jobs, self.outbox)
        self.revival = RevivalRepository(
            scope, self.jobs, self.outbox, self.blobs, self.sweeps, self.parents, self.crawls
        )
        self.collections = CollectionRepository(scope, self.metadata_fields, self.jobs, self.sweeps)
        self.changes = ChangeRepository(scope)
        self.history = HistoryRepository(scope, self.sweeps)
        self.documents = DocumentRepository(
            scope, self.collections, self.changes, self.jobs, self.sweeps, self.history
        )


class Database:
    """Owner of the connections. Make it with `open`.

    >>> database = await Database.open("sqlite+aiosqlite:////var/lib/rag/metadata.db")  # doctest: +SKIP
    >>> async with database.transaction() as tx:  # doctest: +SKIP
    ...     job = await tx.jobs.get("default", job_id)

    Failures of the store are raised as `Unavailable` (`METADATA_STORE_UNAVAILABLE`) and
    `ResourceExhausted` (`DISK_FULL`).
    """

    def __init__(self, writer: AsyncEngine, reader: AsyncEngine, clock: Clock) -> None:
        self._writer = writer
        self._reader = reader
        self._clock = clock
        self._is_closed = False
        self._job_listeners: list[Callable[[Sequence[Job]], None]] = []
        self._collection_listeners: list[Callable[[Sequence[CollectionChange]], None]] = []

    def on_jobs_changed(self, listener: Callable[[Sequence[Job]], None]) -> None:
        """Call `listener` with the jobs that a transaction has changed, once it is committed.

        A commit of which the database did not say how it ended is told, too: the jobs may be as they were.
        """
        self._job_listeners.append(listener)

    def on_collections_changed(self, listener: Callable[[Sequence[CollectionChange]], None]) -> None:
        """Call `listener` with the collections that a transaction has changed, once it is committed.

        Changed is what was created, updated or deleted, has new metadata fields, or has a document that
        became visible, was replaced or was deleted. Listeners are called in the order of their registration,
        before any of `on_jobs_changed`, and before the writer goes on. On SQLite they hear of changes in the
        order of the commits; elsewhere two commits that follow closely may be told in the other order.

        A commit of which the database did not say how it ended is told, too, as of revision 0.
        """
        self._collection_listeners.append(listener)

    @classmethod
    async def open(
        cls, url: str, *, clock: Clock = utc_now, options: ConnectionOptions = DEFAULT
    ) -> Database:
        """Connect to `url` and migrate it if that is due.

        `sqlite+aiosqlite:///FILE`, whose folder must exist, or `postgresql+asyncpg://USER@HOST/DATABASE`,
        where the database must exist. Servers that open one database at once migrate it once. Raises
        `FailedPrecondition` (`SCHEMA_TOO_NEW`) for a database of a later release.
        """
        database = cls(create_writer(url, options), create_reader(url, options), clock)
        try:
            with translated(is_connecting=True):
                await asyncio.to_thread(prepare, url)
                await schema.bring_to_head(url, database._writer)
        except BaseException:
            await database.close()
            raise
        return database

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Open a write transaction; it commits at the end of the block, and rolls back if that raises.

        A caller that is cancelled while it commits waits for the end of that, so that what is committed
        is always told to the listeners.

        On SQLite only one is open at a time: keep the block short and wait for nothing else in it. On
        PostgreSQL several are, at READ COMMITTED: what a decision rests on is locked before it is read.
        """
        async with self._session(self._writer) as session:
            tx = Transaction(session, self._clock)
            yield tx
            await finish(self._commit(session, tx))

    async def _commit(self, session: AsyncSession, tx: Transaction) -> None:
        collections = await tx.touched.changes(session)
        try:
            await session.commit()
        except BaseException:
            # perhaps only the answer was lost: neither what was known before nor what we hoped for is sure
            self._tell_collections([replace(change, revision=0) for change in collections])
            self._tell_jobs(tx.jobs.changed)  # whoever watches them looks for itself
            raise
        self._tell_collections(collections)
        self._tell_jobs(tx.jobs.changed)

    async def tell_again(self, tenant_id: str, job_id: str) -> None:
        """Tell the listeners of a job and its collection as they are now.

        For whoever finds that the process which changed them may have died before it could tell. Raises
        `NotFound`.
        """
        async with self.snapshot() as tx:
            job = await tx.jobs.get(tenant_id, job_id)
            changes = await tx.collections.changes_of([await tx.jobs.collection_uid(tenant_id, job_id)])
        self._tell_collections(changes)
        self._tell_jobs([job])

    def _tell_jobs(self, jobs: Sequence[Job]) -> None:
        if jobs:
            for listener in self._job_listeners:
                listener(jobs)

    def _tell_collections(self, changes: Sequence[CollectionChange]) -> None:
        if changes:
            for listener in self._collection_listeners:
                listener(changes)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Transaction]:
        """Open a read-only transaction: everything in it is read as of one moment."""
        async with self._session(self._reader) as session:
            yield Transaction(session, self._clock)

    @asynccontextmanager
    async def _session(self, engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
        if self._is_closed:
            raise unavailable()
        session = AsyncSession(engine, expire_on_commit=False)
        connection: AsyncConnection | None = None
        try:
            with translated(is_connecting=True):
                # begin now: later, a refused connection could not be told from an `OSError` of the caller's
                connection = await session.connection()
            with translated():
                yield session
        finally:
            # to its end also when the caller is cancelled meanwhile
            await finish(_close(session, connection))

    async def check(self) -> None:
        """Raise `Unavailable` unless the store answers."""
        async with self._session(self._reader) as session:
            await session.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        self._is_closed = True
        await self._writer.dispose()
        await self._reader.dispose()


async def _close(session: AsyncSession, connection: AsyncConnection | None) -> None:
    """Roll back what is not committed and return the connection; throw it away when that fails.

    Then the database ends the transaction by itself. The caller has what it has read, or has committed, or
    has an error of its own on its way: none of these is changed by the failure.
    """
    try:
        await session.close()
    except SQLAlchemyError as error:
        log.warning("transaction was not ended, its connection is closed", where=where_raised(error))
        if connection is not None and not connection.closed:
            await connection.invalidate()
            with suppress(SQLAlchemyError):
                await connection.close()
