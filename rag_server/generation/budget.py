"""Makes a prompt fit: the model's window, less the answer, is all there is room for.

The instructions and the question are always in it. Then come the latest messages of the history, with at
most a third of what is left and none of what the best source needs, and the sources from the best one down,
as long as they fit: what is left out is always the lowest of the ranking and the oldest of the history. A
summary of what was said before those messages is the oldest of all.
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
        """Return the room with the next thing left out. It is not empty.

        The summary goes first, then the sources but the best, then the messages from the oldest one on.
        """
        if self.has_summary:
            return Room(self.messages, self.sources)
        if self.sources > 1 or not self.messages:
            return Room(self.messages, self.sources - 1)
        return Room(self.messages - 1, self.sources)


def room_of(
    model: GeneratorModel,
    max_tokens: int,
    fixed_tokens: int,
    question_tokens: int,
    *,
    instructions_field: str = "generation.model",
) -> int:
    """Return the tokens that are left for history and sources.

    Args:
        model: Whose window it is.
        max_tokens: Of the answer.
        fixed_tokens: Of the instructions and the question, with all that stands around them.
        question_tokens: Of the question alone.
        instructions_field: What to change where the instructions alone fill the window.

    Raises:
        InvalidArgument: `QUESTION_EXCEEDS_WINDOW`, naming the question, or what makes the instructions long
            where these alone fill the window; or the answer's length where that does.
    """
    assert model.window_tokens is not None
    left = model.window_tokens - max_tokens - fixed_tokens
    if left >= 0:
        return left
    instructions_tokens = fixed_tokens - question_tokens
    room = model.window_tokens - instructions_tokens
    if room <= 0:
        raise _exceeding(
            model,
            question_tokens,
            instructions_field,
            f"does not go with the instructions, which have {instructions_tokens} tokens with those of the "
            f"assistant and the form of the answer: the window of the model {model.name!r} has "
            f"{model.window_tokens}",
        )
    if max_tokens > room:
        raise InvalidArgument.for_field(
            "generation.max_answer_tokens",
            f"must be at most {room} for the model {model.name!r}, less the question: its window has "
            f"{model.window_tokens} tokens",
        )
    raise _exceeding(
        model,
        question_tokens,
        "question",
        f"has {question_tokens} tokens; with an answer of {max_tokens} the model {model.name!r} has room for "
        f"{room - max_tokens}",
    )


def fit(
    room: int, history_tokens: Sequence[int], source_tokens: Sequence[int], summary_tokens: int = 0
) -> Room:
    """Return how many of the latest messages and of the best sources `room` tokens hold.

    The messages leave room for the best source, if there is any for it. A summary, of 0 tokens where there is
    none, is in when all messages are, and when it leaves room for a source.
    """
    told = [each + MESSAGE_TOKENS for each in reversed(history_tokens)]
    costs = [each + SOURCE_TOKENS for each in source_tokens]
    share = int(room * HISTORY_SHARE)
    if costs and costs[0] <= room:
        share = min(share, room - costs[0])
    messages = _prefix(share, told)
    left = room - sum(told[:messages])
    if summary_tokens and messages == len(told) and sum(told) + summary_tokens <= share:
        sources = _prefix(left - summary_tokens, costs)
        if sources or not costs:
            return Room(messages, sources, has_summary=True)
    return Room(messages, _prefix(left, costs))


def _exceeding(model: GeneratorModel, question_tokens: int, field: str, problem: str) -> InvalidArgument:
    error = InvalidArgument.for_field(field, problem, reason="QUESTION_EXCEEDS_WINDOW")
    error.metadata |= {
        "model": model.name,
        "window_tokens": str(model.window_tokens),
        "question_tokens": str(question_tokens),
    }
    return error


def _prefix(room: int, costs: Sequence[int]) -> int:
    """Return how many of `costs`, from the first on, sum up to at most `room`."""
    return sum(total <= room for total in accumulate(costs))
