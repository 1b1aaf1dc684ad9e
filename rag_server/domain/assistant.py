"""Assistants: named profiles of answers, and which of them a question gets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

AUTO: Final = "auto"
"""What a request names for the assistant that fits the question; no assistant has this id."""


@dataclass(frozen=True, slots=True)
class AssistantProfile:
    """What a revision of an assistant says."""

    display_name: str = ""
    description: str = ""
    instructions: str = ""
    language: str = ""
    """Empty: that of the question."""
    collection_ids: tuple[str, ...] = ()
    retrieval: bytes = b""
    """Defaults in the contract's form, encoded by whoever recorded them; empty: none."""
    generation: bytes = b""
    """Likewise."""
    keywords: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Assistant:
    """An assistant at one of its revisions, as stored."""

    tenant_id: str
    id: str
    uid: str
    """Never given out twice, unlike the id."""
    revision: int
    profile: AssistantProfile
    is_default: bool
    """As it is now, whatever the revision."""
    create_time: datetime
    update_time: datetime
    """When this revision was made."""


@dataclass(frozen=True, slots=True)
class AssistantHead:
    """Which revision of an assistant holds."""

    id: str
    uid: str
    revision: int
    is_default: bool


class Selection(StrEnum):
    """How an assistant was chosen."""

    NAMED = "named"
    KEYWORD = "keyword"
    EXAMPLE = "example"
    DEFAULT = "default"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class AssistantChoice:
    """Which assistant answers a question, and why."""

    selection: Selection
    assistant_id: str = ""
    """Empty: none."""
    revision: int = 0
    matched: str = ""
    """The keyword or example that decided; empty: none did."""
    score: float | None = None
    """Share of the question's lexemes for keywords, cosine for examples; None: neither was looked at."""
