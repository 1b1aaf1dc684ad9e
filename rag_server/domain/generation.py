"""Generation: the request and the typed events that an answer is made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rag_server.domain.conversation import AnsweredBefore, ConversationRef, HistoryMessage, TurnInfo
from rag_server.domain.document import Span
from rag_server.domain.retrieval import Degradation, RetrievalRequest, ScoredChunk, ScoreScale, Timings


class FinishReason(StrEnum):
    """Why an answer ended. A generation that broke has none: it ends with an error."""

    COMPLETE = "complete"
    MAX_TOKENS = "max_tokens"
    NO_RELEVANT_CONTENT = "no_relevant_content"


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A question and how to answer it."""

    retrieval: RetrievalRequest
    max_tokens: int = 512
    """Upper bound of the answer, in the generator's tokens."""
    language: str = ""
    """Language of fixed phrases (`en`, `es`); empty: that of the question."""
    history: tuple[HistoryMessage, ...] = ()
    """What was said before, oldest first; for a stored conversation as much of it as the generator gets."""
    conversation: ConversationRef | None = None
    """The stored conversation that the question continues; None: nothing is stored."""
    asked: str = ""
    """The question as it was asked, where `retrieval.query` is another one; empty: it is the same."""

    @property
    def question(self) -> str:
        """The question as it was asked."""
        return self.asked or self.retrieval.query


@dataclass(frozen=True, slots=True)
class Citation:
    """A span of the answer and the passage that supports it."""

    source_index: int
    """0-based index into the retrieved sources."""
    answer_span: Span
    source_span: Span
    """Within the text of the source's chunk."""
    quote: str
    """The words of the source: its chunk's text at `source_span`."""


@dataclass(frozen=True, slots=True)
class Started:
    """The first event: who answers, and what the question continues."""

    model: str
    turn: TurnInfo | None = None
    """None: the question stands alone."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The sources, each once, best first."""

    sources: tuple[ScoredChunk, ...]
    score_scale: ScoreScale
    degradations: tuple[Degradation, ...]
    collection_revisions: dict[str, int]


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class Cited:
    """A citation whose answer span has been sent completely."""

    citation: Citation


@dataclass(frozen=True, slots=True)
class Usage:
    """What the answer cost, in the generator's tokens."""

    prompt_token_count: int
    answer_token_count: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of an answer that did not break."""

    reason: FinishReason
    timings_us: Timings


@dataclass(frozen=True, slots=True)
class Repeated:
    """All there is of a call that was answered before: what it was told then."""

    answered: AnsweredBefore
    timings_us: Timings


GenerationEvent = Started | Retrieved | Delta | Cited | Usage | Finished
