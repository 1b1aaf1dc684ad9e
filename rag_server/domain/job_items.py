"""Parts of a document that a job left out, such as rows of a table."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_ITEM_ERRORS = 50
"""Of one job; the others are only counted."""


@dataclass(frozen=True, slots=True)
class ItemError:
    """Why one part was left out."""

    item: str
    """Names the part, such as `row 7`."""
    reason: str
    message: str
    metadata: dict[str, str] = field(default_factory=dict, hash=False)
