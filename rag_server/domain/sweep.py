"""Sweeps: what is gone from the metadata and must still be removed from the stores beside it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class SweepKind(StrEnum):
    """What is to be removed."""

    DOCUMENT_REVISIONS = "document_revisions"
    """Chunks of a document: those of `revision`, or those of every revision before `before_revision`."""
    COLLECTION = "collection"
    """All chunks of a collection."""
    BLOB = "blob"
    """Bytes with the digest `sha256`, unless something refers to them again."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One removal that is due. Removing twice is harmless; not removing is an orphan."""

    tenant_id: str
    id: str
    """Time-ordered: sweeps sort in the order in which they became due."""
    kind: SweepKind
    collection_uid: str
    """Empty for a blob."""
    document_id: str
    """Empty unless the kind is `DOCUMENT_REVISIONS`."""
    revision: int | None
    before_revision: int | None
    sha256: str
    """Empty unless the kind is `BLOB`."""
    create_time: datetime
