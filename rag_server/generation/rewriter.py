"""The role of whoever makes a question of a conversation one that can be searched with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rag_server.domain.conversation import HistoryMessage
from rag_server.domain.generation import GenerationRequest, Preparation
from rag_server.domain.time_limit import TimeLimit


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A question to search with."""

    question: str
    """The same one when it makes sense alone."""
    preparation: Preparation = field(default_factory=Preparation)
    """What it took."""


class QuestionRewriter(Protocol):
    """Gives a question what it leaves unsaid because it was said before."""

    async def rewrite(
        self,
        request: GenerationRequest,
        history: Sequence[HistoryMessage],
        language: str,
        limit: TimeLimit | None,
    ) -> Rewritten:
        """Return what to search with for `request.question`.

        `history` is oldest first and not empty; `language` is the question's, empty where it is unknown. What
        fails raises a `RagError`: a question searched with by mistake finds the wrong passages.
        """
        ...
