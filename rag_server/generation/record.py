"""What becomes of an answer: collected as it is written, recorded when it is finished."""

from __future__ import annotations

from collections.abc import Callable

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

_NUL = "\0"
_REPLACEMENT = "\ufffd"


class Draft:
    """An answer that is being written."""

    def __init__(self, question_id: str = "", search_question: str = "") -> None:
        self.question_id = question_id
        self.search_question = search_question
        self.model = ""
        self.retrieved: Retrieved | None = None
        self.citations: list[Citation] = []
        self.usage: Usage | None = None
        self.finish_reason: FinishReason | None = None
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
            case Retrieved():
                self.retrieved = event
            case Delta(text):
                self._pieces.append(text)
            case Cited(citation):
                self.citations.append(citation)
            case Usage():
                self.usage = event
            case Finished(reason):
                self.finish_reason = reason


AnswerEncoder = Callable[[Draft], bytes]
"""Returns how a finished answer was made, in the form that the contract shows."""
