"""Retrieval: the request, the results and what explains them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from rag_server.domain.document import Chunk
from rag_server.domain.expansion import ExpandedQuery
from rag_server.domain.filter import Filter
from rag_server.domain.fusion import AdaptiveFusion, Fusion


class Leg(StrEnum):
    """The two ways a candidate can be found."""

    DENSE = "dense"
    LEXICAL = "lexical"


class Engine(StrEnum):
    """What searched a collection."""

    RESIDENT = "resident"
    """Its copy in memory."""
    STORE = "store"


class Degradation(StrEnum):
    """One thing that a response went without."""

    LEXICAL_ONLY = "lexical_only"
    """The embedder was down."""
    DENSE_ONLY = "dense_only"
    """The query has no lexeme."""
    NO_RERANK = "no_rerank"
    """The time left would not have done for the reranker, or it was down."""
    RESIDENT_STALE = "resident_stale"
    """The store was down, and the collection in memory is behind what was published."""
    FALLBACK_MODEL = "fallback_model"
    """The model that was asked could not answer; another one did."""
    NO_EXPANSION = "no_expansion"
    """The model that expands queries could not: the question alone was searched."""
    NO_REWRITE = "no_rewrite"
    """The model that rewrites follow-up questions could not: rules did."""


class ScoreScale(StrEnum):
    """What a score means."""

    ADAPTIVE = "adaptive"
    RRF = "rrf"
    """A sum of weighted reciprocal ranks: comparable within one response only."""
    MIN_MAX = "min_max"
    Z_SCORE = "z_score"
    LATE_INTERACTION = "late_interaction"
    CROSS_ENCODER = "cross_encoder"
    COSINE = "cosine"
    """The dense leg's score."""
    BM25 = "bm25"
    """The lexical leg's score."""


class QuerySyntax(StrEnum):
    """How the text of a query is read."""

    OPERATORS = "operators"
    """`"..."` is a phrase that results must contain, `-term` and `-"..."` what they must not contain."""
    PLAIN = "plain"
    """Every sign is text."""


@dataclass(frozen=True, slots=True)
class LateInteraction:
    """MaxSim over the embedding model's own token vectors (Khattab and Zaharia: ColBERT, SIGIR 2020)."""

    candidate_count: int = 20
    """The best fused candidates that are scored again."""


@dataclass(frozen=True, slots=True)
class CrossEncoder:
    """A model that reads query and passage together (Nogueira and Cho, 2019)."""

    candidate_count: int = 20


RerankMethod = LateInteraction | CrossEncoder


@dataclass(frozen=True, slots=True)
class Mmr:
    """Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998)."""

    relevance_weight: float = 0.7
    """1: relevance alone; 0: difference from the results before alone."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """Results by document, best document first; `top_k` counts documents then."""

    chunks_per_document: int = 3


@dataclass(frozen=True, slots=True)
class ScoreThreshold:
    """The least score of a result, on a scale that the request produces."""

    scale: ScoreScale
    min_score: float


@dataclass(frozen=True, slots=True)
class RetrievalRequest:
    """One question to one or more collections, ranked as if they were one."""

    collection_ids: tuple[str, ...]
    query: str
    top_k: int = 10
    filter: Filter | None = None
    fusion: Fusion = field(default_factory=AdaptiveFusion)
    candidate_count: int = 50
    """Candidates taken from each leg before fusion."""
    rerank: RerankMethod | None = None
    diversity: Mmr | None = None
    duplicate_similarity: float | None = None
    """Cosine from which on the lower of two results is left out as a near duplicate."""
    grouping: Grouping | None = None
    threshold: ScoreThreshold | None = None
    context_chunks: int = 0
    """Neighbours on each side that come with a result."""
    syntax: QuerySyntax = QuerySyntax.OPERATORS
    min_revisions: tuple[tuple[str, int], ...] = ()
    """(collection id, revision) pairs: wait until these are searched."""
    is_explained: bool = False
    traced_chunk_ids: tuple[str, ...] = ()
    """Chunks whose way through the stages is to be told; only with `is_explained`."""
    expanded: ExpandedQuery | None = None
    """What is searched beside `query`; not with `is_explained`."""


@dataclass(frozen=True, slots=True)
class LegSignal:
    """What one leg made of a result."""

    rank: int | None
    """1-based; None: not among the leg's candidates, scored for fusion only."""
    score: float


@dataclass(frozen=True, slots=True)
class ScoredChunk:
    """A result: the chunk, the score it is ranked by, and what each stage made of it."""

    chunk: Chunk
    score: float
    signals: dict[Leg, LegSignal]
    fused_score: float = 0.0
    rerank: LegSignal | None = None
    context_before: tuple[Chunk, ...] = ()
    context_after: tuple[Chunk, ...] = ()


Timings = dict[str, int]
"""Microseconds by stage name, in the order in which the stages ran."""


class Drop(StrEnum):
    """Where a traced chunk left the ranking."""

    RETURNED = "returned"
    """It is among the results."""
    ABSENT = "absent"
    """No collection that was searched has it."""
    FILTERED = "filtered"
    """The filter, a phrase or an exclusion keeps it out."""
    NOT_A_CANDIDATE = "not_a_candidate"
    """Neither leg ranks it among its candidates."""
    BELOW_RERANK = "below_rerank"
    """Fused below the candidates that were reranked, and below `top_k`."""
    BELOW_THRESHOLD = "below_threshold"
    NEAR_DUPLICATE = "near_duplicate"
    GROUPED_OUT = "grouped_out"
    """Its document has better chunks."""
    BELOW_TOP_K = "below_top_k"


@dataclass(frozen=True, slots=True)
class Trace:
    """Where one chunk went."""

    chunk_id: str
    drop: Drop
    signals: dict[Leg, LegSignal]
    """The legs' scores, also where it was no candidate, if the engine can tell."""
    fused_rank: int | None = None
    fused_score: float | None = None
    rerank: LegSignal | None = None
    duplicate_of: str = ""
    """The chunk that it is too similar to."""


@dataclass(frozen=True, slots=True)
class CollectionExplanation:
    """What one collection contributed."""

    collection_id: str
    engine: Engine
    lexemes: tuple[str, ...]
    chunk_count: int | None
    """Passages that were searched; None where the engine does not know."""
    passing_count: int | None
    """Of these, those that pass the filter, the phrases and the exclusions."""
    dense_method: str
    """`exact`, `codes`, `hnsw` or `store`; empty: the leg did not run."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why the results are what they are."""

    collections: tuple[CollectionExplanation, ...]
    dense_candidate_count: int
    lexical_candidate_count: int
    dense_weight: float
    """What fusion gave the leg for this query; both sum to 1 where any leg ran."""
    lexical_weight: float
    traces: tuple[Trace, ...]


@dataclass(frozen=True, slots=True)
class RetrievalResult:
    """The answer to a `RetrievalRequest`, best result first."""

    results: tuple[ScoredChunk, ...]
    score_scale: ScoreScale
    degradations: tuple[Degradation, ...]
    """Empty when nothing was missing."""
    collection_revisions: dict[str, int]
    """Revision by collection id that was searched."""
    timings_us: Timings
    explanation: Explanation | None = None
    collection_uids: dict[str, str] = field(default_factory=dict)
    """By collection id: which of the collections that had the name, one after the other, was searched."""
