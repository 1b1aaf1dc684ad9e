"""Retrieval: the request, the candidates of each leg, the results and what explains them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from rag_server.domain.document import Chunk
from rag_server.domain.filter import Filter


class Leg(StrEnum):
    """The two ways a candidate can be found."""

    DENSE = "dense"
    LEXICAL = "lexical"


class Degradation(StrEnum):
    """One thing that a response went without."""

    LEXICAL_ONLY = "lexical_only"
    DENSE_ONLY = "dense_only"


class ScoreScale(StrEnum):
    """What a score means."""

    RRF = "rrf"
    """A sum of weighted reciprocal ranks: comparable within one response only."""


@dataclass(frozen=True, slots=True)
class RrfFusion:
    """Reciprocal rank fusion: score = sum over legs of weight / (k + rank).

    Source: Cormack, Clarke and Buettcher, SIGIR 2009.
    """

    k: int = 60
    dense_weight: float = 1.0
    lexical_weight: float = 1.0


Fusion = RrfFusion


@dataclass(frozen=True, slots=True)
class RetrievalRequest:
    """One question to one or more collections, ranked as if they were one."""

    collection_ids: tuple[str, ...]
    query: str
    top_k: int = 10
    filter: Filter | None = None
    fusion: Fusion = field(default_factory=RrfFusion)
    candidate_count: int = 50
    """Candidates taken from each leg before fusion."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk as one leg found it."""

    chunk: Chunk
    score: float
    """Cosine similarity (dense) or BM25 (lexical); higher is better."""


@dataclass(frozen=True, slots=True)
class LegSignal:
    """Where one leg ranked a result."""

    rank: int
    """1-based."""
    score: float


@dataclass(frozen=True, slots=True)
class ScoredChunk:
    """A result: the chunk, its fused score, and what each leg made of it."""

    chunk: Chunk
    score: float
    signals: dict[Leg, LegSignal]


@dataclass(frozen=True, slots=True)
class Ranking:
    """What fusion made of the legs' candidates, best result first."""

    results: tuple[ScoredChunk, ...]
    score_scale: ScoreScale


Timings = dict[str, int]
"""Microseconds by stage name, in the order in which the stages ran."""


@dataclass(frozen=True, slots=True)
class RetrievalResult:
    """The answer to a `RetrievalRequest`, best result first."""

    results: tuple[ScoredChunk, ...]
    score_scale: ScoreScale
    degradations: tuple[Degradation, ...]
    """Empty when nothing was missing."""
    collection_revisions: dict[str, int]
    """Revision by collection id, as of the moment the search began."""
    timings_us: Timings
