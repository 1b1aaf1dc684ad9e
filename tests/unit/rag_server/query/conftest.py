"""Chunks and a collection to search, and everything that answers a query, over a database of its own."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rag_server.domain.collection import Collection, TokenChunking
from rag_server.domain.document import Chunk, Span
from rag_server.domain.metadata import MetadataType
from rag_server.metadata.database import Database
from tests.unit.rag_server.query.rig import Rig

NOW = datetime(2026, 1, 1, tzinfo=UTC)

EMPTY = Collection(
    tenant_id="acme",
    id="books",
    uid="b" * 32,
    display_name="",
    description="",
    language="en",
    embedding_model="hash-64",
    dimension=64,
    chunking=TokenChunking(),
    labels={},
    metadata_fields={},
    revision=3,
    document_count=0,
    chunk_count=0,
    create_time=NOW,
    update_time=NOW,
)


def make_collection(
    collection_id: str = "books", language: str = "en", **metadata_fields: MetadataType
) -> Collection:
    uid = f"{sum(collection_id.encode()):032x}"
    return replace(EMPTY, id=collection_id, uid=uid, language=language, metadata_fields=metadata_fields)


def make_chunk(
    chunk_id: str, document_id: str = "", revision: int = 1, collection_id: str = "books"
) -> Chunk:
    return Chunk(
        id=chunk_id,
        tenant_id="acme",
        collection_id=collection_id,
        document_id=document_id or f"doc-{chunk_id}",
        document_revision=revision,
        ordinal=0,
        text=f"text of {chunk_id}",
        span=Span(0, 5),
        heading_path=(),
        token_count=3,
        page_start=None,
        page_end=None,
        title="",
        source_uri="",
        media_type="text/plain",
    )


@pytest.fixture
async def database(migrated_sqlite: Path, tmp_path: Path) -> AsyncIterator[Database]:
    path = tmp_path / "metadata.db"
    shutil.copy(migrated_sqlite, path)
    database = await Database.open(f"sqlite+aiosqlite:///{path}")
    yield database
    await database.close()


@pytest.fixture
def engine() -> str:
    """Return which engine answers: `resident` or `store`; a test may choose, or take both."""
    return "resident"


@pytest.fixture
async def rig(database: Database, tmp_path: Path, engine: str) -> AsyncIterator[Rig]:
    async with Rig.open(database, tmp_path, engine) as rig:
        await rig.make("books")
        yield rig
