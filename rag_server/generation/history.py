"""What a generator is told of a conversation: the newest messages that its budget has room for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag_server.domain.conversation import HistoryMessage, Role


@dataclass(frozen=True, slots=True)
class HistoryBudget:
    """How much history a generator gets."""

    max_messages: int
    max_tokens: int
    """In tokens of `count`."""


class HistoryWindow:
    """Cuts histories to a budget.

    Example:
        window = HistoryWindow(tokenizer.count, HistoryBudget(max_messages=50, max_tokens=2048))
        kept = await window.fit(messages)
    """

    def __init__(self, count: Callable[[str], int], budget: HistoryBudget) -> None:
        """Measure with `count`, which blocks and is called in a thread."""
        self._count = count
        self.budget = budget

    async def fit(self, messages: Sequence[HistoryMessage]) -> tuple[HistoryMessage, ...]:
        """Return the newest messages that fit, oldest first.

        No message is cut, and none is kept that is older than one that is left out. What is left after a cut
        begins with a question: an answer without its question says little, and some models refuse it.
        """
        return await asyncio.to_thread(self._fit, messages)

    def _fit(self, messages: Sequence[HistoryMessage]) -> tuple[HistoryMessage, ...]:
        left, kept = self.budget.max_tokens, 0
        for message in list(reversed(messages))[: self.budget.max_messages]:
            left -= self._count(message.text)
            if left < 0:
                break
            kept += 1
        first = len(messages) - kept
        if first:
            while first < len(messages) and messages[first].role is not Role.USER:
                first += 1
        return tuple(messages[first:])
