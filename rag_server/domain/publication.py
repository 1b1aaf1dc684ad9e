"""What an ingest job hands over when its document becomes searchable."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Publication:
    """Properties of a document revision that only ingest knows; the rest is in the job."""

    title: str
    """The caller's, or the one found in the document."""
    media_type: str
    """As detected."""
    sha256: str
    size_bytes: int
    language: str
    chunk_count: int
    token_count: int
    page_count: int | None = None
    reused_chunk_count: int = 0
    """How many of the chunks were not embedded anew."""
    failed_item_count: int = 0
    """Parts of the document that were left out."""
    recipe: str = ""
    """Digest of all that the chunks depend on besides the bytes; empty: not known."""
