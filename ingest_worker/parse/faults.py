"""The errors that a document's content can cause, each with its own stable reason."""

from __future__ import annotations

from rag_server.domain.document import MediaType
from rag_server.domain.media_type_names import readable_media_types
from rag_server.errors import InvalidArgument, ResourceExhausted

_OLD_FORMATS = {
    "application/vnd.ms-powerpoint": "a PowerPoint 97-2003 presentation; save it as PPTX",
}
SUPPORTED = ", ".join(sorted(media_type.value for media_type in readable_media_types()))


def empty() -> InvalidArgument:
    """Return the error for a document of 0 bytes or only white space."""
    return InvalidArgument("DOCUMENT_EMPTY", "the document is empty: it holds no bytes but white space")


def corrupt(description: str) -> InvalidArgument:
    """Return the error for content that is damaged; `description` completes `the document ...`."""
    return InvalidArgument("DOCUMENT_CORRUPT", f"the document {description}")


def docling_failed(media_type: MediaType, error: str) -> InvalidArgument:
    """Return the error for content at which docling itself fails, with an error of that kind."""
    return InvalidArgument(
        "DOCLING_FAILED",
        "docling fails at this document, which may be intact; save it anew with another program, or take its "
        "format out of RAG_PARSER__DOCLING",
        metadata={"media_type": media_type.value, "error": error},
    )


def encrypted() -> InvalidArgument:
    """Return the error for content that needs a password."""
    return InvalidArgument(
        "DOCUMENT_ENCRYPTED",
        "the document is protected by a password; remove the protection and send it again",
    )


def has_no_text(description: str) -> InvalidArgument:
    """Return the error for an intact document without text; `description` says what was looked at."""
    return InvalidArgument("DOCUMENT_HAS_NO_TEXT", f"the document has no text: {description}")


def too_much_text(limit_characters: int) -> ResourceExhausted:
    """Return the error for a document with more text than one may have."""
    return ResourceExhausted(
        "DOCUMENT_TOO_LARGE",
        f"the document has more than {limit_characters} characters of text; split it into several documents",
        metadata={"limit_characters": str(limit_characters)},
    )


def unpacks_to_too_much(limit_bytes: int) -> ResourceExhausted:
    """Return the error for a compressed document that unpacks to more bytes than it may."""
    return ResourceExhausted(
        "DOCUMENT_TOO_LARGE",
        f"the document unpacks to more than {limit_bytes} bytes; split it into several documents",
        metadata={"limit_bytes": str(limit_bytes)},
    )


def too_many_cells(limit_cells: int) -> ResourceExhausted:
    """Return the error for a spreadsheet with more cells than it may have, the empty ones included."""
    return ResourceExhausted(
        "DOCUMENT_TOO_LARGE",
        f"the document has more than {limit_cells} cells; split it into several documents",
        metadata={"limit_cells": str(limit_cells)},
    )


def too_many_members(limit_members: int) -> ResourceExhausted:
    """Return the error for a container of more files than it may have."""
    return ResourceExhausted(
        "DOCUMENT_TOO_LARGE",
        f"the document is a container of more than {limit_members} files; split it into several documents",
        metadata={"limit_members": str(limit_members)},
    )


def too_many_parts(limit: int, name: str) -> ResourceExhausted:
    """Return the error for a document that would be too many objects in memory; `name` says of what."""
    return ResourceExhausted(
        "DOCUMENT_TOO_LARGE",
        f"the document has more than {limit} {name}; split it into several documents",
    )


def unsupported(detected: str) -> InvalidArgument:
    """Return the error for a format that no parser reads; `detected` is its media type or else its name."""
    advice = f" ({_OLD_FORMATS[detected]})" if detected in _OLD_FORMATS else ""
    return InvalidArgument(
        "UNSUPPORTED_MEDIA_TYPE",
        f"the document is {detected}{advice}, which is not supported; supported: {SUPPORTED}",
        metadata={"detected_media_type": detected, "supported_media_types": SUPPORTED},
    )


def needs_extra(media_type: MediaType, extra: str) -> InvalidArgument:
    """Return the error for a format whose parser is not installed; `extra` is the one that brings it."""
    others = ", ".join(each for each in SUPPORTED.split(", ") if each != media_type)
    return InvalidArgument(
        "UNSUPPORTED_MEDIA_TYPE",
        f"the document is {media_type.value}, which this server reads only where it is installed with its "
        f"extra {extra!r} (`pip install 'rag-server[{extra}]'`); send it as one of {others}",
        metadata={"detected_media_type": media_type.value, "supported_media_types": others},
    )


def too_old(media_type: MediaType, description: str) -> InvalidArgument:
    """Return the error for a version of a format that is not read; `description` has what to do, too."""
    return InvalidArgument(
        "UNSUPPORTED_MEDIA_TYPE",
        f"the document is {description}; supported: {SUPPORTED}",
        metadata={"detected_media_type": media_type.value, "supported_media_types": SUPPORTED},
    )


def mismatch(claimed: str, detected: str, claimed_by: str) -> InvalidArgument:
    """Return the error for content that is not what `claimed_by` (the request or the file name) says."""
    return InvalidArgument(
        "MEDIA_TYPE_MISMATCH",
        f"the {claimed_by} says {claimed}, but the content is {detected}; supported: {SUPPORTED}",
        metadata={
            "claimed_media_type": claimed,
            "detected_media_type": detected,
            "supported_media_types": SUPPORTED,
        },
    )
