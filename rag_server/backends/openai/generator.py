"""A generator that writes: one model of one provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rag_server.backends.openai.completion import InvalidCompletion, Piece, ProviderError, parse_piece
from rag_server.backends.openai.failures import Failures
from rag_server.backends.openai.output_format import EnforcedBy, output_members
from rag_server.backends.openai.provider import Provider
from rag_server.backends.openai.token_counts import TokenCounter
from rag_server.backends.protocols import GeneratorModel, Price
from rag_server.domain.generation import Delta, FinishReason, Prompt, Sampling, Usage, Words

_CHARACTERS_PER_TOKEN = 32
_MORE_CHARACTERS = 1024
"""An answer with more than this, and so many for each token that it may have, is no answer any longer."""

MESSAGE_TOKENS = 4
"""What a chat template adds to each message, about."""


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """One model of a provider."""

    name: str
    id: str
    """The provider's own name for it."""
    window_tokens: int
    price: Price | None = None
    defaults: Sampling = field(default_factory=Sampling)
    max_tokens_field: str = "max_tokens"
    """How the provider calls the limit of the answer."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further members of each request."""
    structured_output: EnforcedBy = "json_schema"


class OpenAiGenerator:
    """A `Generator` that asks a model over HTTP.

    Example:
        generator = OpenAiGenerator(provider, ModelOptions("qwen", "Qwen/Qwen3-8B", 32768), EstimatedTokens())
        async for event in generator.generate(prompt):
            ...

    The provider is shared with its other models and is closed by who made it.
    """

    def __init__(self, provider: Provider, options: ModelOptions, tokens: TokenCounter) -> None:
        self._provider = provider
        self._options = options
        self._tokens = tokens
        self._failures = Failures(provider.name, options.name)

    @property
    def model(self) -> GeneratorModel:
        """What the rest of the service must know of it."""
        own = self._options
        return GeneratorModel(
            own.name, self._provider.name, own.window_tokens, self._tokens.is_exact, own.price
        )

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text."""
        count = self._tokens.count
        return [count(text) for text in texts]

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Words, None]:
        """Yield the deltas as they come, then the usage and the reason.

        The usage is the provider's; where it sends none, it is counted here.
        """
        reason: FinishReason | None = None
        usage: Usage | None = None
        texts: list[str] = []
        room = prompt.request.max_tokens * _CHARACTERS_PER_TOKEN + _MORE_CHARACTERS
        async with self._provider.stream(self._body(prompt), self._failures, prompt.limit) as events:
            async for data in events:
                piece = self._parsed(data)
                reason = reason or piece.reason
                usage = piece.usage or usage
                if not piece.text:
                    continue
                room -= len(piece.text)
                if room < 0:
                    raise self._failures.too_long()
                texts.append(piece.text)
                yield Delta(piece.text)
            if reason is None:
                raise self._failures.broken()
        yield usage or await self._counted(prompt, "".join(texts))
        yield reason

    async def check(self) -> None:
        """Raise a `RagError` unless the provider can be asked."""
        await self._provider.check(self._failures)

    async def close(self) -> None:
        """Close nothing: the provider's connections are other models', too."""

    def _parsed(self, data: bytes) -> Piece:
        try:
            return parse_piece(data)
        except InvalidCompletion as error:
            raise self._failures.invalid() from error
        except ProviderError as error:
            raise self._failures.broken() from error

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        own, asked = self._options.defaults, prompt.request.sampling
        sampling = {
            "temperature": own.temperature if asked.temperature is None else asked.temperature,
            "top_p": own.top_p if asked.top_p is None else asked.top_p,
            "seed": own.seed if asked.seed is None else asked.seed,
            "stop": list(asked.stop or own.stop) or None,
        }
        return {
            **self._options.extra,
            **output_members(prompt.request.output, self._options.structured_output),
            "model": self._options.id,
            "messages": [{"role": each.role.value, "content": each.text} for each in prompt.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            self._options.max_tokens_field: prompt.request.max_tokens,
            **{name: value for name, value in sampling.items() if value is not None},
        }

    async def _counted(self, prompt: Prompt, answer: str) -> Usage:
        texts = [*(each.text for each in prompt.messages), answer]
        *asked, answered = await asyncio.to_thread(self.count_tokens, texts)
        return Usage(sum(asked) + MESSAGE_TOKENS * len(asked), answered)
