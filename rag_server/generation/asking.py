"""Asks a model, and where it cannot answer the next one, as long as nothing has been said yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

import structlog

from rag_server.domain.generation import Delta, Usage, Words
from rag_server.errors import FailedPrecondition, InvalidArgument, RagError, ResourceExhausted, Unavailable
from rag_server.generation.abstain import abstain, abstention_named
from rag_server.generation.buffer import read_ahead
from rag_server.generation.cite import Citer
from rag_server.generation.compose import Composed, Composer
from rag_server.generation.models import ServedModel
from rag_server.generation.structured import StructuredWriter

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Asked:
    """Who answers, and with what."""

    model: str
    composed: Composed
    is_fallback: bool
    is_shared: bool = False
    """Whether no model was asked: the answer was kept, or is another caller's, too."""


class Asks(Protocol):
    """Gets an answer."""

    def ask(self, route: Sequence[ServedModel], first: Composed) -> AsyncGenerator[Asked | Words, None]:
        """Yield who answers, then the answer; see `Asking.ask`."""
        ...


class Asking:
    """Gets an answer from the first model of a route that gives one."""

    def __init__(self, composer: Composer, citer: Citer, structured: StructuredWriter) -> None:
        self._composer = composer
        self._citer = citer
        self._structured = structured

    async def ask(self, route: Sequence[ServedModel], first: Composed) -> AsyncGenerator[Asked | Words, None]:
        """Yield who answers, then the answer; `first` is the prompt for the first model of the route.

        Raises the error of the model that was asked for, when none of the others can answer either.
        """
        cause: RagError | None = None
        for position, served in enumerate(route):
            has_begun = False
            try:
                composed = await self._composed(served, first, is_first=not position)
                async with aclosing(self._answer(served, composed)) as words:
                    async for event in words:
                        if not has_begun:
                            has_begun = True
                            yield Asked(served.name, composed, bool(position))
                        yield event
            except InvalidArgument:
                if cause is None:
                    raise
            except (Unavailable, ResourceExhausted, FailedPrecondition) as error:
                if has_begun:
                    raise
                log.warning("model cannot answer", model=served.name, reason=error.reason)
                cause = cause or error
            else:
                return
        assert cause is not None
        raise cause

    async def _composed(self, served: ServedModel, first: Composed, *, is_first: bool) -> Composed:
        prompt = first.prompt
        if is_first:
            return first
        return await self._composer.compose(served.generator, prompt.request, prompt.sources, prompt.limit)

    async def _answer(self, served: ServedModel, composed: Composed) -> AsyncGenerator[Words, None]:
        """Yield the answer of one model, in its turn."""
        request = composed.prompt.request
        writes = served.generator.model.window_tokens is not None
        if writes and composed.report is None:
            words = abstain(request)
        elif composed.form is not None:
            words = self._structured.write(served.generator, composed, composed.form)
        elif writes:
            read = read_ahead(served.generator.generate(composed.prompt), merge=_merged)
            words = self._citer.cite(abstention_named(read, request), composed)
        else:
            words = served.generator.generate(composed.prompt)
        async with served.gate.turn(request.priority), aclosing(words) as events:
            async for event in events:
                yield event


async def usage_of(route: Sequence[ServedModel], who: Asked, text: str) -> Usage:
    """Return what an answer of `who` has cost that was stopped after `text`; a shared one costs nothing."""
    if who.is_shared:
        return Usage(0, 0)
    generator = next(each.generator for each in route if each.name == who.model)
    (answer_tokens,) = await asyncio.to_thread(generator.count_tokens, [text])
    return Usage(who.composed.report.token_count if who.composed.report else 0, answer_tokens)


def _merged(first: Words, second: Words) -> Delta | None:
    """Return two pieces of text as one."""
    if isinstance(first, Delta) and isinstance(second, Delta):
        return Delta(first.text + second.text)
    return None
