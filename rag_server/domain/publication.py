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
