"""Query expansion: what a model adds to a question before passages are searched."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class MultiQuery:
    """The question in other words, each searched; see `generation/expand/multi_query.py`."""

    query_count: int = 3


@dataclass(frozen=True, slots=True)
class Hyde:
    """Passages that could answer the question, embedded with it; see `generation/expand/hyde.py`."""

    passage_count: int = 1


@dataclass(frozen=True, slots=True)
class Decomposition:
    """The questions that it is made of, each searched; see `generation/expand/decomposition.py`."""

    max_query_count: int = 4


ExpansionMethod = MultiQuery | Hyde | Decomposition


@dataclass(frozen=True, slots=True)
class QueryExpansion:
    """What a request asks for."""

    method: ExpansionMethod
    model: str = ""
    """Name or alias of the model that writes; empty: the one that is asked for the answer."""


class Merging(StrEnum):
    """How the rankings of several queries become one."""

    SUM = "sum"
    """By the sum of reciprocal ranks: what several queries find goes first."""
    BEST = "best"
    """By the best rank in any: the queries take turns."""


@dataclass(frozen=True, slots=True)
class ExpandedQuery:
    """What is searched beside the question itself."""

    queries: tuple[str, ...] = ()
    """Each searched as the question is, their rankings merged with its own."""
    merging: Merging = Merging.SUM
    passages: tuple[str, ...] = ()
    """The question's vector becomes the mean of its own and theirs; the lexical leg keeps the question."""


@dataclass(frozen=True, slots=True)
class SearchedWith:
    """What passages were searched with, as the caller is told."""

    model: str
    """Who wrote what is not the question."""
    queries: tuple[str, ...]
    """The question first."""
    passages: tuple[str, ...] = ()
