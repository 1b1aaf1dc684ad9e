"""Real metadata and bytes in a folder of the test; chunk stores that a test can break."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from rag_server.backends.local_blobs import LocalBlobStore
from rag_server.domain.collection import Collection, NewCollection, TokenChunking
from rag_server.domain.document import NewDocument
from rag_server.domain.job import Job, JobState
from rag_server.domain.publication import Publication
from rag_server.domain.revision import KEPT_REVISIONS
from rag_server.metadata.database import Database

TENANT = "acme"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = await Database.open(database_url)
    yield database
    await database.close()


@pytest.fixture
async def blobs(tmp_path: Path) -> LocalBlobStore:
    blobs = LocalBlobStore(tmp_path / "blobs")
    await blobs.open()
    return blobs


@pytest.fixture
async def books(database: Database) -> Collection:
    async with database.transaction() as tx:
        return await tx.collections.create(TENANT, NewCollection("books"), embedding_model="m", dimension=64)


Submit = Callable[..., Awaitable[Job]]
Change = Callable[..., Awaitable[Job]]


@pytest.fixture
def submit(database: Database, books: Collection, blobs: LocalBlobStore) -> Submit:
    """Accept a job for a document whose bytes are `data`."""

    async def submit(document_id: str = "doc", data: bytes = b"some text") -> Job:
        staged = await blobs.stage(TENANT, one(data), limit_bytes=1_000_000)
        async with database.transaction() as tx:
            await tx.blobs.add(TENANT, staged.sha256, staged.size_bytes)
            job = await tx.jobs.create(
                TENANT,
                books.uid,
                NewDocument("books", document_id),
                chunking=TokenChunking(),
                content_sha256=staged.sha256,
            )
            await staged.keep()
        return job

    return submit


@pytest.fixture
def change(database: Database) -> Change:
    """Change a job; publish its document when the state is SUCCEEDED."""

    async def change(
        job: Job, state: JobState, *, kept_revisions: int = KEPT_REVISIONS, **changes: Any
    ) -> Job:
        async with database.transaction() as tx:
            if state is not JobState.SUCCEEDED:
                return await tx.jobs.change(TENANT, job.id, state=state, **changes)
            publication = Publication("", "text/plain", job.content_sha256, 9, "en", 1, 3)
            return await tx.documents.publish(TENANT, job.id, publication, kept_revisions=kept_revisions)

    return change


async def one(data: bytes) -> AsyncIterator[bytes]:
    yield data
