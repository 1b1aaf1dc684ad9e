"""The roles of what writes answers, and of what keeps them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from rag_server.domain.generation import Prompt, Words


class AnswerStore(Protocol):
    """Keeps encoded answers by tenant and key, for a while. It may forget any of them at any time.

    What a tenant has there is out of reach of all others, whatever the keys are.
    """

    async def get(self, tenant_id: str, key: str) -> bytes | None:
        """Return an answer; None: it is not kept any longer. Raises `RagError` when it cannot tell."""
        ...

    async def put(self, tenant_id: str, key: str, value: bytes) -> None:
        """Keep an answer, in place of what the key had. Raises `RagError` when it cannot."""
        ...


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost, in whatever unit the server's settings are in."""

    prompt: float
    answer: float

    def of(self, prompt_tokens: int, answer_tokens: int) -> float:
        """Return the cost of a request."""
        return (self.prompt * prompt_tokens + self.answer * answer_tokens) / 1_000_000


@dataclass(frozen=True, slots=True)
class GeneratorModel:
    """What the rest of the service must know of a generator."""

    name: str
    """What requests choose it by, and answers carry."""
    provider: str = ""
    """Who runs it; empty: this process."""
    window_tokens: int | None = None
    """Tokens of prompt and answer together. None: it quotes the sources, reads no messages and cites
    by itself; else it writes from messages, and names its sources by markers."""
    counts_exactly: bool = True
    """Whether its counts of tokens are the model's own, rather than upper estimates."""
    price: Price | None = None


class Generator(Protocol):
    """Answers a question from sources: by quoting them, or in words of its own."""

    @property
    def model(self) -> GeneratorModel: ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text; at least that, where it `counts_exactly` not.

        Pure CPU, for any thread: ask off the event loop.
        """
        ...

    def generate(self, prompt: Prompt) -> AsyncGenerator[Words, None]:
        """Yield deltas, the citations they complete, then one `Usage` and one `FinishReason`.

        A generator that quotes and abstains yields its reason after a delta that says so in the caller's
        language. One that writes yields no citation.

        Closing the generator, or cancelling its reader, stops the work: at a provider, too. One that breaks
        raises a `RagError` after the deltas that came, and never yields a reason.
        """
        ...

    async def check(self) -> None:
        """Raise a `RagError` unless it can be asked."""
        ...

    async def close(self) -> None: ...
