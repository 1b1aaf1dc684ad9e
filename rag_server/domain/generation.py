"""Generation: the request and the typed events that an answer is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

from rag_server.domain.assistant import Assistant, AssistantChoice
from rag_server.domain.conversation import (
    AnsweredBefore,
    ConversationRef,
    HistoryMessage,
    Summary,
    TurnInfo,
)
from rag_server.domain.document import Span
from rag_server.domain.expansion import QueryExpansion, SearchedWith
from rag_server.domain.grounding import Grounding, GroundingOptions
from rag_server.domain.output_format import OutputFormat
from rag_server.domain.policy import PolicyReport
from rag_server.domain.priority import Priority
from rag_server.domain.retrieval import Degradation, RetrievalRequest, ScoredChunk, ScoreScale, Timings
from rag_server.domain.rewriting import Rewriting
from rag_server.domain.time_limit import TimeLimit


class FinishReason(StrEnum):
    """Why an answer ended. A generation that broke has none: it ends with an error."""

    COMPLETE = "complete"
    MAX_TOKENS = "max_tokens"
    NO_RELEVANT_CONTENT = "no_relevant_content"
    LOW_GROUNDING = "low_grounding"
    """The sources do not bear out what the model wrote; it was withheld."""
    POLICY = "policy"
    """The model's provider or a filter withheld the answer, or the rest of it."""


class Role(StrEnum):
    """Who says a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of what a model that writes is given."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a model that writes chooses its words. None: the model's own setting."""

    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    """Texts before which the answer ends."""


class AnswerCaching(StrEnum):
    """Whether an answer may be one that was given before, or to another caller of the tenant."""

    REPEATABLE = "repeatable"
    """If it would come out alike."""
    ALLOWED = "allowed"
    BYPASSED = "bypassed"


@dataclass(frozen=True, slots=True)
class AskedAssistant:
    """The assistant that a request asks for."""

    name: str
    """Its id, or `AUTO`."""
    merged: Callable[[Assistant | None], GenerationRequest]
    """Returns the request with the settings of an assistant where it has none; None: as it stands.

    Raises `InvalidArgument` where the two do not go together.
    """


@dataclass(frozen=True, slots=True)
class Usage:
    """What the answer cost, in the generator's tokens."""

    prompt_token_count: int
    answer_token_count: int

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_token_count + other.prompt_token_count,
            self.answer_token_count + other.answer_token_count,
        )


@dataclass(frozen=True, slots=True)
class Preparation:
    """What models were asked before passages were searched: to rewrite the question, or to expand it."""

    usage: Usage = field(default_factory=lambda: Usage(0, 0))
    cost: float = 0.0
    """In the unit of the models' prices, as far as they have any."""
    degradations: tuple[Degradation, ...] = ()

    def __add__(self, other: Preparation) -> Preparation:
        return Preparation(
            self.usage + other.usage, self.cost + other.cost, self.degradations + other.degradations
        )


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A question and how to answer it."""

    retrieval: RetrievalRequest
    max_tokens: int = 512
    """Upper bound of the answer, in the generator's tokens."""
    language: str = ""
    """Language of fixed phrases (`en`, `es`); empty: that of the question."""
    model: str = ""
    """Name or alias of a model; empty: the alias `default`."""
    sampling: Sampling = field(default_factory=Sampling)
    keeps_markers: bool = False
    """Whether `[1]` and its like stay in the text."""
    max_cost: float | None = None
    """What prompt and answer may cost at most; None: the server's limit."""
    output: OutputFormat | None = None
    """The form that the answer has to have; None: text as the model writes it."""
    priority: Priority = Priority.INTERACTIVE
    grounding: GroundingOptions | None = None
    """How the answer is judged; None: it is not."""
    caching: AnswerCaching = AnswerCaching.REPEATABLE
    history: tuple[HistoryMessage, ...] = ()
    """What was said before, oldest first; for a stored conversation as much of it as the generator gets."""
    summary: Summary | None = None
    """What stands for older messages of a stored conversation; None: nothing does."""
    conversation: ConversationRef | None = None
    """The stored conversation that the question continues; None: nothing is stored."""
    asked: str = ""
    """The question as it was asked, where `retrieval.query` is another one; empty: it is the same."""
    assistant: AskedAssistant | None = None
    """Whose settings are to be filled in; None: none's, or they are."""
    choice: AssistantChoice | None = None
    """Which assistant answers; None: none was asked for."""
    instructions: str = ""
    """That one's words to a model that writes."""
    expansion: QueryExpansion | None = None
    rewriting: Rewriting | None = None
    """None: as the server's settings say."""
    preparation: Preparation = field(default_factory=Preparation)
    """What has been done so far on the way to the answer."""

    @property
    def question(self) -> str:
        """The question as it was asked."""
        return self.asked or self.retrieval.query

    def prepared(self, more: Preparation) -> Self:
        """Return the request after more has been done for it."""
        return replace(self, preparation=self.preparation + more)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a generator is given."""

    request: GenerationRequest
    sources: tuple[ScoredChunk, ...]
    """What was retrieved, best first; a generator that quotes takes its words from here."""
    messages: tuple[Message, ...] = ()
    """For a generator that writes: all that it is told, the sources that had room included."""
    limit: TimeLimit | None = None
    """When the call must have ended."""


@dataclass(frozen=True, slots=True)
class PromptReport:
    """What a model that writes was given, and what there was no room for."""

    token_count: int
    is_estimated: bool
    """Whether `token_count` is an upper estimate."""
    window_tokens: int
    left_out_sources: tuple[int, ...]
    """0-based indices."""
    left_out_message_count: int
    """Those that a summary stood for included, if it had no room."""
    template: str
    max_cost: float | None
    """Of the prompt and the longest answer; None: the model has no price."""


class CitationOrigin(StrEnum):
    """Who names the source of a span."""

    QUOTE = "quote"
    """The span is the source's words."""
    MARKER = "marker"
    """The model, by a marker."""
    SIMILARITY = "similarity"
    """The server: the model named none."""


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
    origin: CitationOrigin = CitationOrigin.QUOTE
    similarity: float | None = None
    """0 to 1, with `SIMILARITY` only."""


@dataclass(frozen=True, slots=True)
class Started:
    """The first event: who is asked, with what, and what the question continues."""

    model: str
    prompt: PromptReport | None = None
    turn: TurnInfo | None = None
    """None: the question stands alone."""
    assistant: AssistantChoice | None = None
    """None: the request asked for none."""
    searched: SearchedWith | None = None
    """None: no model was asked to expand the question, or it could not."""


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
class Finished:
    """The last event of an answer that did not break."""

    reason: FinishReason
    timings_us: Timings
    model: str = ""
    """Who answered."""
    degradations: tuple[Degradation, ...] = ()
    """What generation had to go without."""
    prompt: PromptReport | None = None
    grounding: Grounding | None = None
    """None: not asked for, or the answer is none."""
    policy: PolicyReport | None = None
    """What filters did; None: nothing."""
    is_shared: bool = False
    """Whether no model was asked: the answer was given before, or is that of another caller, too."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """All there is of a call that was answered before: what it was told then."""

    answered: AnsweredBefore
    timings_us: Timings


Words = Delta | Cited | Usage | FinishReason
"""What a generator yields, in this order: text with its citations, what it cost, and why it ended."""

GenerationEvent = Started | Retrieved | Delta | Cited | Usage | Finished
