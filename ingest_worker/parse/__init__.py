"""Parsing: bytes of one of the supported formats become text with blocks. One format per file.

The names below are imported when they are first used: whoever only needs the limits of a document, as the
worker does that has others parse (`ingest_worker.sandbox`), does without a second's worth of libraries.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingest_worker.parse.detect import detect_media_type
    from ingest_worker.parse.protocol import Parser
    from ingest_worker.parse.registry import parse_document

__all__ = ["Parser", "detect_media_type", "parse_document"]

_HOMES = {"Parser": "protocol", "detect_media_type": "detect", "parse_document": "registry"}


def __getattr__(name: str) -> Any:
    """Import one of the names of this package (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
