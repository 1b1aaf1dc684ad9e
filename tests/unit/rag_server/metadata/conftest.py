from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from rag_server.domain.collection import Collection, NewCollection, TokenChunking
from rag_server.domain.document import NewDocument
from rag_server.domain.job import Job
from rag_server.domain.metadata import Metadata
from rag_server.domain.publication import Publication
from rag_server.domain.webhook import Webhook
from rag_server.metadata import Database

TENANT = "acme"


class Clock:
    """A clock that goes on by a second with every look."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def make_publication(*, sha256: str = "a" * 64, chunks: int = 3) -> Publication:
    return Publication(
        title="A title",
        media_type="text/plain",
        sha256=sha256,
        size_bytes=120,
        language="en",
        chunk_count=chunks,
        token_count=chunks * 10,
    )


@pytest.fixture
def publication() -> Callable[..., Publication]:
    """Make what an ingest hands over; `sha256` and `chunks` can be chosen."""
    return make_publication


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    opened = await Database.open(url, clock=Clock())
    yield opened
    await opened.close()


async def make_collection(database: Database) -> Collection:
    async with database.transaction() as tx:
        return await tx.collections.create(TENANT, NewCollection("papers"), embedding_model="m", dimension=4)


@pytest.fixture
async def collection(database: Database) -> Collection:
    return await make_collection(database)


Submit = Callable[..., Awaitable[Job]]


@pytest.fixture
def submit(database: Database, collection: Collection) -> Submit:
    """Accept a job for a document of the collection."""
    return submits_to(database, collection)


def submits_to(database: Database, collection: Collection) -> Submit:
    async def submit(
        document_id: str = "doc",
        *,
        sha256: str = "a" * 64,
        metadata: Metadata | None = None,
        webhook: Webhook | None = None,
    ) -> Job:
        new = NewDocument(collection.id, document_id, source_uri="file:x", metadata=metadata or {})
        async with database.transaction() as tx:
            return await tx.jobs.create(
                TENANT,
                collection.uid,
                new,
                chunking=TokenChunking(),
                content_sha256=sha256,
                request_id="r",
                webhook=webhook,
            )

    return submit


Publish = Callable[..., Awaitable[Job]]


@pytest.fixture
def publish(database: Database) -> Publish:
    """Publish a job's document."""
    return publishes_to(database)


def publishes_to(database: Database) -> Publish:
    async def publish(job: Job, *, sha256: str = "a" * 64, chunks: int = 3) -> Job:
        async with database.transaction() as tx:
            return await tx.documents.publish(TENANT, job.id, make_publication(sha256=sha256, chunks=chunks))

    return publish
