"""What the formats are called: registered media types, the names in use beside them, and file suffixes."""

from __future__ import annotations

import importlib.util
from pathlib import PurePosixPath
from types import MappingProxyType

from rag_server.domain.document import MediaType

NO_CLAIM = frozenset(
    {"", "application/octet-stream", "binary/octet-stream", "application/unknown", "unknown/unknown"}
)
"""What senders declare that do not know."""
_LIBRARIES = MappingProxyType({MediaType.XLS: "xlrd"})
"""Of formats that only an optional library reads, its module."""
_ARCHIVES = frozenset(
    {"application/zip", "application/x-zip", "application/x-zip-compressed", "application/x-compressed-zip"}
)
_NAMES = MappingProxyType(
    {
        "text/x-markdown": MediaType.MARKDOWN,
        "text/md": MediaType.MARKDOWN,
        "application/markdown": MediaType.MARKDOWN,
        "application/xhtml+xml": MediaType.HTML,
        "application/x-pdf": MediaType.PDF,
        "text/rtf": MediaType.RTF,
        "application/x-rtf": MediaType.RTF,
        "application/doc": MediaType.DOC,
        "application/vnd.msword": MediaType.DOC,
        "application/x-msword": MediaType.DOC,
        "application/excel": MediaType.XLS,
        "application/msexcel": MediaType.XLS,
        "application/x-excel": MediaType.XLS,
        "application/x-msexcel": MediaType.XLS,
        "application/msoutlook": MediaType.MSG,
        "application/x-msg": MediaType.MSG,
        "application/epub": MediaType.EPUB,
        "application/eml": MediaType.EML,
        "application/csv": MediaType.CSV,
        "application/x-csv": MediaType.CSV,
        "text/x-csv": MediaType.CSV,
        "text/comma-separated-values": MediaType.CSV,
        "text/x-comma-separated-values": MediaType.CSV,
        "text/tsv": MediaType.TSV,
        "text/x-tab-separated-values": MediaType.TSV,
        "text/json": MediaType.JSON,
        "application/x-json": MediaType.JSON,
        "application/ld+json": MediaType.JSON,
        "application/geo+json": MediaType.JSON,
        "application/vnd.api+json": MediaType.JSON,
        "application/jsonlines": MediaType.JSONL,
        "application/x-jsonlines": MediaType.JSONL,
        "application/json-lines": MediaType.JSONL,
        "application/ndjson": MediaType.JSONL,
        "application/x-ndjson": MediaType.JSONL,
        "application/x-jsonl": MediaType.JSONL,
        "text/jsonl": MediaType.JSONL,
        "text/xml": MediaType.XML,
        "application/rss+xml": MediaType.XML,
        "application/atom+xml": MediaType.XML,
        "text/rst": MediaType.RST,
        "text/prs.fallenstein.rst": MediaType.RST,
        "text/restructured": MediaType.RST,
        "text/org": MediaType.ORG,
        "application/vnd.jupyter": MediaType.IPYNB,
        "application/ipynb+json": MediaType.IPYNB,
        **{media_type.value: media_type for media_type in MediaType},
    }
)
# Files called .doc or .xls are often RTF, HTML or CSV: that suffix is no claim, their content tells.
_SUFFIXES = MappingProxyType(
    {
        ".txt": MediaType.TEXT,
        ".text": MediaType.TEXT,
        ".md": MediaType.MARKDOWN,
        ".markdown": MediaType.MARKDOWN,
        ".mdown": MediaType.MARKDOWN,
        ".html": MediaType.HTML,
        ".htm": MediaType.HTML,
        ".xhtml": MediaType.HTML,
        ".pdf": MediaType.PDF,
        ".docx": MediaType.DOCX,
        ".pptx": MediaType.PPTX,
        ".xlsx": MediaType.XLSX,
        ".odt": MediaType.ODT,
        ".rtf": MediaType.RTF,
        ".epub": MediaType.EPUB,
        ".eml": MediaType.EML,
        ".csv": MediaType.CSV,
        ".tsv": MediaType.TSV,
        ".tab": MediaType.TSV,
        ".json": MediaType.JSON,
        ".geojson": MediaType.JSON,
        ".jsonld": MediaType.JSON,
        ".jsonl": MediaType.JSONL,
        ".ndjson": MediaType.JSONL,
        ".xml": MediaType.XML,
        ".rss": MediaType.XML,
        ".atom": MediaType.XML,
        ".rst": MediaType.RST,
        ".rest": MediaType.RST,
        ".org": MediaType.ORG,
        ".ipynb": MediaType.IPYNB,
    }
)


def readable_media_types() -> tuple[MediaType, ...]:
    """Return the formats that the installed parsers read, in the order of `MediaType`."""
    return tuple(
        media_type
        for media_type in MediaType
        if media_type not in _LIBRARIES or importlib.util.find_spec(_LIBRARIES[media_type]) is not None
    )


def essence(declared: str) -> str:
    """Return a declared media type without its parameters, in lower case (RFC 9110, 8.3.1)."""
    return declared.partition(";")[0].strip().lower()


def media_type_named(declared: str) -> MediaType | None:
    """Return the format that a declared media type names, by whichever of its names; None for no such."""
    return _NAMES.get(essence(declared))


def is_archive_type(declared: str) -> bool:
    """Whether a declared media type names an archive of documents."""
    return essence(declared) in _ARCHIVES


def media_type_of_file(name: str) -> MediaType | None:
    """Return the format that a file's suffix names; None where it names none."""
    return _SUFFIXES.get(PurePosixPath(name.replace("\\", "/")).suffix.lower())
