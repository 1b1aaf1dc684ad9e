"""Chunks, their collections and their vectors, made for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import numpy as np

from rag_server.backends.protocols import Embeddings
from rag_server.domain.collection import Collection, TokenChunking
from rag_server.domain.document import Chunk, Span

DIMENSION = 8
HOSTILE_TEXTS = (
    'quo"te',
    "back\\slash",
    "per%cent",
    "under_score",
    '" or "1" == "1',
    "ñandú 東京 🦜",
    "line\nbreak\ttab",
)


def make_collection(*, tenant_id: str = "acme", dimension: int = DIMENSION) -> Collection:
    """Return a collection with an identity of its own."""
    now = datetime(2026, 1, 2, tzinfo=UTC)
    return Collection(
        tenant_id=tenant_id,
        id="manuals",
        uid=uuid4().hex,
        display_name="",
        description="",
        language="mul",
        embedding_model="test",
        dimension=dimension,
        chunking=TokenChunking(),
        labels={},
        metadata_fields={},
        revision=1,
        document_count=0,
        chunk_count=0,
        create_time=now,
        update_time=now,
    )


def make_chunk(
    ordinal: int, *, tenant_id: str = "acme", document_id: str = "guide", revision: int = 1
) -> Chunk:
    """Return a chunk whose id sorts by document, revision and ordinal."""
    return Chunk(
        id=f"{document_id}:{revision}:{ordinal:05}",
        tenant_id=tenant_id,
        collection_id="manuals",
        document_id=document_id,
        document_revision=revision,
        ordinal=ordinal,
        text=f"Passage {ordinal} — señal ½\nsecond line",
        span=Span(ordinal * 10, ordinal * 10 + 9),
        heading_path=("Part “one”", f"Section {ordinal}"),
        token_count=7,
        page_start=None,
        page_end=ordinal + 1,
        title="The guide",
        source_uri="https://example.org/guide?a=1&b=%20",
        media_type="text/markdown",
    )


def axis(index: int) -> Embeddings:
    """Return `(1, DIMENSION)`: the unit vector of one axis."""
    return np.eye(DIMENSION, dtype=np.float32)[index : index + 1]
