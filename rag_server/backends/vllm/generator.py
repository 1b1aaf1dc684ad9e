"""A generator that writes: one model that vLLM runs in this process's care."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind

from rag_server.backends.protocols import GeneratorModel, Price
from rag_server.backends.vllm.chat import Chat
from rag_server.backends.vllm.encoded_prompts import EncodedPrompts
from rag_server.backends.vllm.engine import Engine
from rag_server.backends.vllm.output_format import structured_outputs
from rag_server.domain.engine import EngineFigures
from rag_server.domain.generation import (
    Delta,
    FinishReason,
    GenerationRequest,
    Message,
    Prompt,
    Sampling,
    Usage,
    Words,
)
from rag_server.errors import FailedPrecondition, InvalidArgument

TEMPLATE_OPTIONS: Final = "chat_template_kwargs"
"""Member of `extra` that goes to the chat template, as in vLLM's server; the others to `SamplingParams`."""

_REASONS: Final = {"stop": FinishReason.COMPLETE, "length": FinishReason.MAX_TOKENS}
_LEAST_TOP_P: Final = 1e-6
"""vLLM refuses 0, which says the same: only the likeliest."""


@dataclass(frozen=True, slots=True)
class VllmModelOptions:
    """One model and what is asked of it."""

    name: str
    provider: str
    price: Price | None = None
    defaults: Sampling = field(default_factory=Sampling)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `SamplingParams`, and `TEMPLATE_OPTIONS`."""


class VllmGenerator:
    """A `Generator` over one engine.

    Example:
        load_vllm()
        engine = await Engine.start("tiny", EngineOptions("/srv/tiny", 4096))
        generator = await VllmGenerator.create(VllmModelOptions("tiny", "here"), engine, 4096)
        async for event in generator.generate(prompt):
            ...

    The engine is closed by who started it.
    """

    def __init__(self, options: VllmModelOptions, engine: Engine, chat: Chat, window_tokens: int) -> None:
        extra = dict(options.extra)
        extra.pop(TEMPLATE_OPTIONS, None)
        self._options = options
        self._engine = engine
        self._chat = chat
        self._window_tokens = window_tokens
        self._sampling = {**engine.default_sampling, **_arguments(options.defaults), **extra}
        self._encoded = EncodedPrompts()
        self._model = GeneratorModel(options.name, options.provider, window_tokens, price=options.price)

    @classmethod
    async def create(cls, options: VllmModelOptions, engine: Engine, window_tokens: int) -> VllmGenerator:
        """Make a generator of a running engine.

        Raises:
            FailedPrecondition: `VLLM_NOT_STARTED`: its template or its options cannot be used.
        """
        template_options = options.extra.get(TEMPLATE_OPTIONS) or {}
        chat = await asyncio.to_thread(Chat, engine.tokenizer, options.name, template_options)
        generator = cls(options, engine, chat, window_tokens)
        generator.check_sampling()
        return generator

    @property
    def model(self) -> GeneratorModel:
        """What the rest of the service must know of it."""
        return self._model

    @property
    def figures(self) -> EngineFigures:
        """How its engine fares."""
        return self._engine.figures

    @property
    def request_count(self) -> int:
        """Requests that this process has not done with."""
        return self._engine.request_count

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text."""
        count = self._chat.count
        return [count(text) for text in texts]

    def count_prompt(self, messages: Sequence[Message]) -> int:
        """Return the number of tokens of a prompt, which is kept to be asked."""
        known = self._encoded.find(messages)
        return len(self._encode(messages) if known is None else known)

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Words, None]:
        """Yield the deltas as they come, then the usage and the reason."""
        tokens = self._encoded.find(prompt.messages)
        if tokens is None:
            tokens = await asyncio.to_thread(self._encode, prompt.messages)
        room = self._window_tokens - len(tokens)
        if room < 1:  # of messages that nobody has counted
            raise InvalidArgument.for_field(
                "question",
                f"leaves no room for an answer in the window of the model {self._options.name!r}",
                reason="QUESTION_EXCEEDS_WINDOW",
            )
        count = 0
        reason: str | None = None
        async with aclosing(self._engine.stream(tokens, self._params(prompt.request, room))) as pieces:
            async for piece in pieces:
                count += piece.count
                reason = piece.finish_reason
                if piece.text:
                    yield Delta(piece.text)
        if reason not in _REASONS:  # given up by the engine, or by its shutdown
            raise self._engine.failed()
        yield Usage(len(tokens), count)
        yield _REASONS[reason]

    async def check(self) -> None:
        """Raise a `RagError` unless the engine can be asked."""
        self._engine.check()

    async def close(self) -> None:
        """Close nothing."""

    def check_sampling(self) -> None:
        """Raise `FailedPrecondition` (`VLLM_NOT_STARTED`) unless vLLM knows the arguments in `extra`."""
        try:
            SamplingParams(**self._sampling)
        except (TypeError, ValueError) as error:
            raise FailedPrecondition(
                "VLLM_NOT_STARTED",
                f"the `extra` of the model {self._options.name!r} has what vLLM's SamplingParams do not take",
                metadata={"model": self._options.name},
            ) from error

    def _encode(self, messages: Sequence[Message]) -> list[int]:
        tokens = self._chat.encode(messages)
        self._encoded.keep(messages, tokens)
        return tokens

    def _params(self, request: GenerationRequest, room: int) -> SamplingParams:
        return SamplingParams(
            **{
                **self._sampling,
                **_arguments(request.sampling),
                "max_tokens": min(request.max_tokens, room),
                "output_kind": RequestOutputKind.DELTA,
                "structured_outputs": structured_outputs(request.output),
                "skip_clone": True,  # it is for this request alone
            }
        )


def _arguments(sampling: Sampling) -> dict[str, Any]:
    """Return what is set as arguments of `SamplingParams`."""
    arguments = {
        "temperature": sampling.temperature,
        "top_p": None if sampling.top_p is None else max(sampling.top_p, _LEAST_TOP_P),
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
    }
    return {name: value for name, value in arguments.items() if value is not None}
