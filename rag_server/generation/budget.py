"""Makes a prompt fit: the model's window, less the answer, is all there is room for.

The instructions and the question are always in it. Then come the latest messages of the history, with at
most a third of what is left, and the sources from the best one down, as long as they fit: what is left out is
always the lowest of the ranking and the oldest of the history. A summary of what was said before those
messages is the oldest of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from rag_server.backends.protocols import GeneratorModel
from rag_server.errors import InvalidArgument

HISTORY_SHARE: Final = 1 / 3
"""Of what instructions and question leave."""

MESSAGE_TOKENS: Final = 8
"""What the model's chat template adds to a message, at most."""

SOURCE_TOKENS: Final = 16
"""What the tags around a source take."""


@dataclass(frozen=True, slots=True)
class Room:
    """How much of what may be left out is in."""

    messages: int
    """The latest of the history."""
    sources: int
    """The best."""
    has_summary: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in that could be left out."""
        return not (self.messages or self.sources or self.has_summary)

    def smaller(self) -> Room:
        """Return the room with the next thing left out: the summary, the last source, or the oldest message.

        It is not empty.
        """
        if self.has_summary:
            return Room(self.messages, self.sources)
        if self.sources:
            return Room(self.messages, self.sources - 1)
        return Room(self.messages - 1, 0)


def room_of(model: GeneratorModel, max_tokens: int, fixed_tokens: int, question_tokens: int) -> int:
    """Return the tokens that are left for history and sources.

    Args:
        model: Whose window it is.
        max_tokens: Of the answer.
        fixed_tokens: Of the instructions and the question, with all that stands around them.
        question_tokens: Of the question alone.

    Raises:
        InvalidArgument: `QUESTION_EXCEEDS_WINDOW`, naming the question, or the answer's length where that
        alone
            fills the window.
    """
    assert model.window_tokens is not None
    left = model.window_tokens - max_tokens - fixed_tokens
    if left >= 0:
        return left
    room = max(0, model.window_tokens - (fixed_tokens - question_tokens))
    if max_tokens > room:
        raise InvalidArgument.for_field(
            "generation.max_answer_tokens",
            f"must be at most {room} for the model {model.name!r}, less the question: its window has "
            f"{model.window_tokens} tokens",
        )
    error = InvalidArgument.for_field(
        "question",
        f"has {question_tokens} tokens; with an answer of {max_tokens} the model {model.name!r} has room for "
        f"{room - max_tokens}",
        reason="QUESTION_EXCEEDS_WINDOW",
    )
    error.metadata |= {
        "model": model.name,
        "window_tokens": str(model.window_tokens),
        "question_tokens": str(question_tokens),
    }
    raise error


def fit(
    room: int, history_tokens: Sequence[int], source_tokens: Sequence[int], summary_tokens: int = 0
) -> Room:
    """Return how many of the latest messages and of the best sources `room` tokens hold.

    A summary, of 0 tokens where there is none, is in when all messages are, and when it leaves room for a
    source.
    """
    told = [each + MESSAGE_TOKENS for each in reversed(history_tokens)]
    costs = [each + SOURCE_TOKENS for each in source_tokens]
    share = int(room * HISTORY_SHARE)
    messages = _prefix(share, told)
    left = room - sum(told[:messages])
    if summary_tokens and messages == len(told) and sum(told) + summary_tokens <= share:
        sources = _prefix(left - summary_tokens, costs)
        if sources or not costs:
            return Room(messages, sources, has_summary=True)
    return Room(messages, _prefix(left, costs))


def _prefix(room: int, costs: Sequence[int]) -> int:
    """Return how many of `costs`, from the first on, sum up to at most `room`."""
    return sum(total <= room for total in accumulate(costs))
