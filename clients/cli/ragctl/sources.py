"""What `ingest` is given: files, addresses and text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file to upload."""

    label: str
    """How it is shown: its path relative to the folder that was given."""
    document_id: str
    path: Path
    size_bytes: int
    """Size when it was found."""


@dataclass(frozen=True, slots=True)
class UrlSource:
    """An http or https address that the server fetches."""

    label: str
    """The address."""
    document_id: str
    """Empty: the server derives it from the address."""


@dataclass(frozen=True, slots=True)
class TextSource:
    """Text from standard input."""

    label: str
    document_id: str
    text: str


Source = FileSource | UrlSource | TextSource
