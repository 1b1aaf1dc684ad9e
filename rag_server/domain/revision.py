"""What is remembered of the revisions of a document."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rag_server.domain.document import NewDocument
from rag_server.domain.records import Cutting

KEPT_REVISIONS = 5
"""Revisions of a document that are kept by default, the visible one included."""


@dataclass(frozen=True, slots=True)
class DocumentRevision:
    """A document as it became visible once. Its bytes are kept, its chunks only of the visible revision."""

    document: NewDocument
    """As it was handed in: made again from this and the bytes, the revision looks the same."""
    revision: int
    title: str
    media_type: str
    """As detected."""
    sha256: str
    size_bytes: int
    language: str
    chunk_count: int
    token_count: int
    page_count: int | None
    chunking: Cutting
    recipe: str
    """Digest of all that the chunks depend on besides the bytes; empty: not known, or they are not whole."""
    create_time: datetime
    """When it became visible."""
