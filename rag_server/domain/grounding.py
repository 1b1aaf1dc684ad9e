"""Grounding: how far the sentences of a text say what passages say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rag_server.domain.document import Chunk, Span
from rag_server.domain.filter import Filter
from rag_server.domain.retrieval import Timings

SUPPORTED_FROM = 0.5
"""Score from which on a sentence counts as supported: support is likelier than not."""


class FactKind(StrEnum):
    """What a hard fact is."""

    NUMBER = "number"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Fact:
    """A number or a name: something that a passage has or has not, whatever its words are."""

    kind: FactKind
    span: Span
    """Within the text that is judged."""
    text: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A text that may support others."""

    source_index: int
    """0-based: which of the sources it belongs to. A source and its neighbours have the same."""
    text: str
    title: str = ""
    """Of its document, with the headings above it: what its pronouns may stand for."""
    chunk: Chunk | None = None
    """The chunk whose text it is; None: the caller gave it."""


@dataclass(frozen=True, slots=True)
class Support:
    """A sentence of a passage that supports one of the text."""

    passage_index: int
    """0-based, into the passages."""
    span: Span
    """Within the passage."""
    similarity: float
    """Half the cosine, half the share of the supported sentence's words that are here; 0 to 1."""


@dataclass(frozen=True, slots=True)
class SentenceGrounding:
    """What the passages say of one sentence."""

    span: Span
    """Within the text."""
    score: float | None
    """Probability that they support it, 0 to 1; None: it states nothing that could be judged."""
    supports: tuple[Support, ...] = ()
    """Best first. They are what speaks most for the sentence, also where its score is low."""
    missing_facts: tuple[Fact, ...] = ()
    """What none of the supports' passages has."""


@dataclass(frozen=True, slots=True)
class Grounding:
    """What passages say of a text."""

    sentences: tuple[SentenceGrounding, ...]
    passages: tuple[Passage, ...] = ()
    model: str = ""
    """The model that has read sentences and supports together; empty: none has."""

    @property
    def score(self) -> float:
        """The share of its sentences that may be expected to be supported; 0 where none can be judged."""
        scores = self._scores
        return sum(scores) / len(scores) if scores else 0.0

    @property
    def supported_share(self) -> float:
        """The share of the sentences that count as supported; 0 where none can be judged."""
        scores = self._scores
        return sum(each >= SUPPORTED_FROM for each in scores) / len(scores) if scores else 0.0

    @property
    def _scores(self) -> list[float]:
        return [each.score for each in self.sentences if each.score is not None]


@dataclass(frozen=True, slots=True)
class GroundingOptions:
    """How an answer is judged."""

    min_score: float | None = None
    """Score below which the answer is withheld; None: it is judged only."""


@dataclass(frozen=True, slots=True)
class GivenPassages:
    """Passages of the caller's own."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NamedChunks:
    """Chunks of one collection."""

    collection_id: str
    chunk_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FoundPassages:
    """What retrieval finds for each sentence."""

    collection_ids: tuple[str, ...]
    filter: Filter | None = None
    per_sentence: int = 5


GroundingSources = GivenPassages | NamedChunks | FoundPassages


@dataclass(frozen=True, slots=True)
class CheckedGrounding:
    """The answer to a check."""

    grounding: Grounding
    collection_revisions: dict[str, int]
    """By collection id, of collections that were searched."""
    timings_us: Timings
