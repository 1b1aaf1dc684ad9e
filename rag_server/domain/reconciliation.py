"""What a comparison of the stores finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FindingKind(StrEnum):
    """What does not agree."""

    ORPHAN_CHUNKS = "orphan_chunks"
    """Chunks of a revision that nobody sees or makes."""
    MISSING_CHUNKS = "missing_chunks"
    """A visible revision lacks chunks."""
    SURPLUS_CHUNKS = "surplus_chunks"
    """A visible revision has chunks beyond its last one."""
    UNREFERENCED_BYTES = "unreferenced_bytes"
    """Bytes that no kept revision and no job needs."""
    MISSING_BYTES = "missing_bytes"
    """Bytes of a kept revision are not there, or not in their size."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not agree."""

    kind: FindingKind
    collection_id: str = ""
    document_id: str = ""
    revision: int = 0
    chunk_count: int = 0
    """Chunks that are too many or too few."""
    sha256: str = ""
    is_repaired: bool = False
    """Whether the repair was done or begun."""
    job_id: str = ""
    """The job that makes the document again."""


@dataclass(slots=True)
class Inspected:
    """How much was looked at."""

    collection_count: int = 0
    document_count: int = 0
    chunk_count: int = 0
