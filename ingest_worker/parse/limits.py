"""How much text one document may have."""

from __future__ import annotations

from ingest_worker.parse import faults

MAX_CHARACTERS = 20_000_000
"""Some 6 000 printed pages, more than any one document needs. Without a bound of its own a document within
the limit on bytes may be 100 million characters of text, and its chunks fill the memory and the queue of
the model for hours."""
_MAX_BYTES_PER_CHARACTER = 4
"""Of all encodings that are read, UTF-8, UTF-16 and UTF-32 have the longest characters."""


def require_characters(count: int) -> None:
    """Raise `ResourceExhausted` (`DOCUMENT_TOO_LARGE`) where `count` characters are too many."""
    if count > MAX_CHARACTERS:
        raise faults.too_much_text(MAX_CHARACTERS)


def require_encoded(byte_count: int) -> None:
    """Raise `ResourceExhausted` where so many bytes are too many characters in every encoding."""
    require_characters((byte_count - 1) // _MAX_BYTES_PER_CHARACTER)


def require_parts(count: int, limit: int, name: str) -> None:
    """Raise `ResourceExhausted` (`DOCUMENT_TOO_LARGE`) where a document has more than `limit` parts.

    A part in memory takes over a hundred bytes, and may be one or two in the document. `name` is what the
    format calls them, in the plural.
    """
    if count > limit:
        raise faults.too_many_parts(limit, name)
