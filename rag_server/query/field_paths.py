"""Where the parts of a question stand in the message that it came in: violations name them so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class FieldPaths:
    """Paths from the request message."""

    query: str
    filter: str
    collection_ids: str = "collection_ids"


RETRIEVE: Final = FieldPaths(query="query", filter="options.filter")
GENERATE: Final = FieldPaths(query="question", filter="retrieval.filter")


def in_batch(index: int) -> FieldPaths:
    """Return the paths of one request of a batch."""
    before = f"requests[{index}]."
    return FieldPaths(
        query=before + RETRIEVE.query,
        filter=before + RETRIEVE.filter,
        collection_ids=before + RETRIEVE.collection_ids,
    )
