"""What becomes of an answer: collected as it is written, recorded when it is finished."""

from __future__ import annotations

from collections.abc import Callable

from rag_server.domain.assistant import AssistantChoice
from rag_server.domain.expansion import SearchedWith
from rag_server.domain.generation import (
    Citation,
    Cited,
    Delta,
    Finished,
    FinishReason,
    GenerationEvent,
    Retrieved,
    Started,
    Usage,
)
from rag_server.domain.grounding import Grounding
from rag_server.domain.policy import PolicyReport
from rag_server.domain.retrieval import Degradation

_NUL = "\0"
_REPLACEMENT = "\ufffd"


class Draft:
    """An answer that is being written."""

    def __init__(
        self, question_id: str = "", search_question: str = "", policy: PolicyReport | None = None
    ) -> None:
        """`policy`: what filters did to the question, before anything was written."""
        self.question_id = question_id
        self.search_question = search_question
        self.policy = policy or PolicyReport()
        self.model = ""
        self.assistant: AssistantChoice | None = None
        self.searched: SearchedWith | None = None
        self.retrieved: Retrieved | None = None
        self.citations: list[Citation] = []
        self.usage: Usage | None = None
        self.finish_reason: FinishReason | None = None
        self.degradations: tuple[Degradation, ...] = ()
        """Of the generation, beside those of the retrieval."""
        self.grounding: Grounding | None = None
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """The answer so far. U+0000, which PostgreSQL cannot store, is replaced; spans stay right."""
        return "".join(self._pieces).replace(_NUL, _REPLACEMENT)

    def add(self, event: GenerationEvent) -> None:
        """Take the next event of the answer."""
        match event:
            case Started(model):
                self.model = model
                self.assistant = event.assistant
                self.searched = event.searched
            case Retrieved():
                self.retrieved = event
            case Delta(text):
                self._pieces.append(text)
            case Cited(citation):
                self.citations.append(citation)
            case Usage():
                self.usage = event
            case Finished():
                self.finish_reason = event.reason
                self.model = event.model  # who answered in the end
                self.degradations = event.degradations
                self.grounding = event.grounding
                self.policy = self.policy.joined(event.policy)


AnswerEncoder = Callable[[Draft], bytes]
"""Returns how a finished answer was made, in the form that the contract shows."""
