"""Collections: a named set of documents with one embedding model, one language and one chunking."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from rag_server.domain.lexical import Bm25
from rag_server.domain.metadata import MetadataType


@dataclass(frozen=True, slots=True)
class TokenChunking:
    """Chunks that follow headings and paragraphs, measured in tokens of the embedding model."""

    max_tokens: int = 200
    """Upper bound of a chunk, in tokens; never more than the model's window."""
    overlap_ratio: float = 0.2
    """Share of a chunk that repeats the end of the one before it, 0 to 0.5."""
    page_boxes: bool = False
    """Whether chunks tell where on their pages they stand."""


@dataclass(frozen=True, slots=True)
class CharacterChunking:
    """Chunks of a fixed number of characters, cut at word boundaries."""

    max_characters: int = 2000
    """Upper bound of a chunk, in Unicode code points."""
    overlap_characters: int = 400
    """Code points that repeat the end of the chunk before; at most half of `max_characters`."""
    page_boxes: bool = False
    """Whether chunks tell where on their pages they stand."""


Chunking = TokenChunking | CharacterChunking


@dataclass(frozen=True, slots=True)
class Collection:
    """One tenant's collection, as stored."""

    tenant_id: str
    id: str
    """The name the caller chose; unique within the tenant."""
    uid: str
    """32 hex digits, never reused: a collection deleted and created again under its old
    name has another `uid`, so nothing of the old one can surface in the new."""
    display_name: str
    description: str
    language: str
    """Analyser language, see `rag_server.text.analyzer`."""
    embedding_model: str
    dimension: int
    chunking: Chunking
    labels: dict[str, str]
    metadata_fields: dict[str, MetadataType]
    revision: int
    """Grows by one with every visible change of the collection's documents."""
    document_count: int
    chunk_count: int
    create_time: datetime
    update_time: datetime
    bm25: Bm25 = field(default_factory=Bm25)


@dataclass(frozen=True, slots=True)
class NewCollection:
    """What a caller asks for when creating a collection."""

    id: str
    display_name: str = ""
    description: str = ""
    language: str = "mul"
    chunking: Chunking = field(default_factory=TokenChunking)
    bm25: Bm25 = field(default_factory=Bm25)
    labels: dict[str, str] = field(default_factory=dict)
    metadata_fields: dict[str, MetadataType] = field(default_factory=dict)
