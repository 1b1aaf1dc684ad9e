"""Chunks and a collection to search, and stand-ins for the stores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rag_server.domain.collection import Collection, TokenChunking
from rag_server.domain.document import Chunk, Span
from rag_server.domain.metadata import MetadataType
from rag_server.domain.retrieval import Candidate

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


def candidates(*names: str, revision: int = 1) -> list[Candidate]:
    """Return candidates, best first: scores fall from 1."""
    return [
        Candidate(make_chunk(name, revision=revision), 1.0 - index / 1000) for index, name in enumerate(names)
    ]


class Visible:
    """Says that `revision` of every document is visible, but for `hidden` ones; counts the questions."""

    def __init__(self, hidden: Callable[[str], bool] = lambda document_id: False) -> None:
        self.hidden = hidden
        self.revision = 1
        self.questions: list[tuple[str, str, list[str]]] = []

    async def visible_revisions(
        self, tenant_id: str, collection_uid: str, document_ids: Sequence[str]
    ) -> Mapping[str, int]:
        self.questions.append((tenant_id, collection_uid, list(document_ids)))
        return {each: self.revision for each in document_ids if not self.hidden(each)}


@pytest.fixture
def visible() -> Visible:
    return Visible()
