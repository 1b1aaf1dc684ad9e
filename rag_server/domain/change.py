"""Changes: what readers that keep a collection in memory catch up by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DocumentChange:
    """One visible change of one document. Every revision of a collection is one such change."""

    revision: int
    """The collection's revision that the change made."""
    document_id: str
    document_revision: int | None
    """The document's revision that became visible; None: the document was deleted."""
    chunk_count: int
    """Chunks of that revision of the document; 0 when it was deleted."""


@dataclass(frozen=True, slots=True)
class CollectionChange:
    """Word that a collection is not what it was: what is remembered of it must be read again.

    Words may arrive twice and out of order: whoever listens keeps the largest revision. None is final.
    """

    tenant_id: str
    collection_id: str
    collection_uid: str
    revision: int | None
    """The collection's revision is at least this; None: the collection was deleted."""
