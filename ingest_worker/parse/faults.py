"""The errors that a document's content can cause, each with its own stable reason."""

from __future__ import annotations

from rag_server.domain.document import MediaType
from rag_server.errors import InvalidArgument, ResourceExhausted

SUPPORTED = ", ".join(sorted(media_type.value for media_type in MediaType))


def empty() -> InvalidArgument:
    """Return the error for a document of 0 bytes or only white space."""
    return InvalidArgument("DOCUMENT_EMPTY", "the document is empty: it holds no bytes but white space")


def corrupt(description: str) -> InvalidArgument:
    """Return the error for content that is damaged; `description` completes `the document ...`."""
    return InvalidArgument("DOCUMENT_CORRUPT", f"the document {description}")


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


def unsupported(detected: str) -> InvalidArgument:
    """Return the error for a format that no parser reads."""
    return InvalidArgument(
        "UNSUPPORTED_MEDIA_TYPE",
        f"the document is {detected}, which is not supported; supported: {SUPPORTED}",
        metadata={"detected_media_type": detected, "supported_media_types": SUPPORTED},
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
