"""Uploads that can be resumed: documents that arrive in parts, over as many calls as it takes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rag_server.domain.collection import Chunking
from rag_server.domain.document import NewDocument


@dataclass(frozen=True, slots=True)
class UploadPart:
    """A run of a document's bytes that the blob store holds."""

    offset: int
    """Of its first byte within the document."""
    size_bytes: int
    sha256: str
    """Digest of the part; its key in the blob store."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload, as stored."""

    tenant_id: str
    id: str
    collection_uid: str
    """The collection that it was opened for; another one of the same name is not it."""
    document: NewDocument
    chunking: Chunking | None
    """None: as the collection says."""
    sha256: str
    """Digest that the whole content has to have; empty: any."""
    offset: int
    """Bytes received: the parts follow each other and end here."""
    answer: bytes | None
    """What the call was answered that ended the upload, encoded; None: it goes on."""
    create_time: datetime
    update_time: datetime
    """When its last part came, or it ended."""
