"""Documents and what ingest makes of them: parsed text, blocks, chunks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from rag_server.domain.job_items import ItemError
from rag_server.domain.metadata import Metadata
from rag_server.domain.page_boxes import PageBox, TextPlaces


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A half-open range `[start, end)` of Unicode code points in a text."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(f"not a span: [{self.start}, {self.end})")


class MediaType(StrEnum):
    """The formats that ingest reads."""

    TEXT = "text/plain"
    MARKDOWN = "text/markdown"
    HTML = "text/html"
    PDF = "application/pdf"
    DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
    XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    DOC = "application/msword"
    XLS = "application/vnd.ms-excel"
    MSG = "application/vnd.ms-outlook"
    ODT = "application/vnd.oasis.opendocument.text"
    RTF = "application/rtf"
    EPUB = "application/epub+zip"
    EML = "message/rfc822"
    CSV = "text/csv"
    TSV = "text/tab-separated-values"
    JSON = "application/json"
    JSONL = "application/jsonl"
    XML = "application/xml"
    RST = "text/x-rst"
    ORG = "text/x-org"
    IPYNB = "application/x-ipynb+json"


class BlockKind(StrEnum):
    """What a block of a parsed document is; the chunker treats each kind in its own way."""

    HEADING = "heading"
    PARAGRAPH = "paragraph"
    LIST = "list"
    CODE = "code"
    TABLE = "table"


@dataclass(frozen=True, slots=True)
class Block:
    """A run of a parsed document's text that belongs together."""

    kind: BlockKind
    span: Span
    """Where the block stands in `ParsedDocument.text`."""
    level: int = 0
    """1 to 6 for a heading, 0 for everything else."""
    page: int | None = None
    """1-based page on which the block starts; None where the format has no pages."""


@dataclass(frozen=True, slots=True)
class Record:
    """A row of a table that was taken as a record."""

    span: Span
    """Where its text stands in `ParsedDocument.text`."""
    key: str
    """What tells it apart from the others; empty where the mapping names no key."""
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Records:
    """What became of the rows of a table."""

    taken: tuple[Record, ...]
    """In order, not overlapping."""
    errors: tuple[ItemError, ...] = ()
    """Why rows were left out: the first ones."""
    failed_count: int = 0
    """Rows that were left out."""


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """The text of a document and its structure, independent of the format it came in."""

    text: str
    """The whole text, line ends normalised to `\\n`, NFC, without control characters."""
    blocks: tuple[Block, ...]
    """In order, not overlapping; the text between two blocks is white space."""
    title: str = ""
    language: str = ""
    """BCP 47 code that the document declares, else the one that its words tell, else empty."""
    page_count: int | None = None
    pages_without_text: tuple[int, ...] = ()
    """1-based, in order: pages that show something but hold no text, as scans do. Blank ones do not count."""
    records: Records | None = None
    """Where the document was taken row by row."""
    places: TextPlaces | None = None
    """Where its lines stand on its pages; None where nobody asked, or the format does not tell."""


@dataclass(frozen=True, slots=True)
class ChunkDraft:
    """A passage cut from a parsed document, before it has an identity."""

    text: str
    """Exactly `prefix + ParsedDocument.text[span.start:span.end]`: what is embedded, stored and shown."""
    span: Span
    heading_path: tuple[str, ...]
    """Headings above the passage, outermost first."""
    token_count: int
    """Tokens of the embedding model, without its special tokens."""
    page_start: int | None = None
    page_end: int | None = None
    prefix: str = ""
    """The header rows of the table that the passage begins in, repeated from above `span`, with their line
    ends; empty for every other passage."""
    metadata: Metadata = field(default_factory=dict, hash=False)
    """Of a record; empty for every other passage."""
    boxes: tuple[PageBox, ...] = ()
    """Where it stands on its pages, in reading order; empty where nobody asked, or no page shows it."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stored passage of one revision of one document."""

    id: str
    tenant_id: str
    collection_id: str
    document_id: str
    document_revision: int
    ordinal: int
    """0-based position within the document revision."""
    text: str
    """Longer than `span` by the header rows that a passage from within a table starts with."""
    span: Span
    heading_path: tuple[str, ...]
    token_count: int
    page_start: int | None
    page_end: int | None
    title: str
    source_uri: str
    media_type: str
    metadata: Metadata = field(default_factory=dict, hash=False)
    """A record's own; filters see it beside, and before, that of the document. Empty for other chunks."""
    boxes: tuple[PageBox, ...] = ()
    """As in `ChunkDraft`."""


def chunk_id(tenant_id: str, collection_uid: str, document_id: str, revision: int, ordinal: int) -> str:
    """Return the id of a chunk, 32 hex digits: the same chunk of the same revision always has the same."""
    name = "\0".join((tenant_id, collection_uid, document_id, str(revision), str(ordinal)))
    return hashlib.sha256(name.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Document:
    """A document with a searchable revision."""

    tenant_id: str
    collection_id: str
    id: str
    revision: int
    """The revision that readers see; starts at 1."""
    title: str
    source_uri: str
    media_type: str
    sha256: str
    """Hex digest of the original bytes."""
    size_bytes: int
    language: str
    metadata: Metadata
    chunk_count: int
    token_count: int
    page_count: int | None
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True, slots=True)
class DocumentHead:
    """What a search needs to know of a document besides its chunks."""

    id: str
    revision: int
    """The revision that readers see."""
    title: str
    source_uri: str
    media_type: str
    metadata: Metadata
    chunk_count: int


@dataclass(frozen=True, slots=True)
class NewDocument:
    """What a caller says of a document it hands in."""

    collection_id: str
    document_id: str
    """Empty: the server derives one from the content (see `rag_server.ingest.submit`)."""
    title: str = ""
    source_uri: str = ""
    file_name: str = ""
    media_type: str = ""
    """As declared by the caller; empty means: detect it."""
    metadata: Metadata = field(default_factory=dict)
