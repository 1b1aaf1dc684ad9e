"""The role of whoever makes a question of a conversation one that can be searched with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rag_server.domain.conversation import HistoryMessage


class QuestionRewriter(Protocol):
    """Gives a question what it leaves unsaid because it was said before."""

    async def rewrite(self, question: str, history: Sequence[HistoryMessage], language: str) -> str:
        """Return the question to search with: the same one when it makes sense alone.

        `history` is oldest first and not empty; `language` is the question's, empty where it is unknown. What
        fails raises a `RagError`: a question searched with by mistake finds the wrong passages.
        """
        ...
