"""Answers in a form that the caller asked for: held back until they have it, and asked for once more.

    words, collected -> abstention? -> form? -> (once more) -> clean -> the answer in one piece -> citations

Whether an engine that was told of the form kept to it or not, nothing leaves that does not have it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from rag_server.backends.protocols import Generator
from rag_server.domain.generation import (
    Citation,
    CitationOrigin,
    Cited,
    Delta,
    FinishReason,
    Prompt,
    Role,
    Usage,
    Words,
)
from rag_server.domain.output_format import ChoiceOutput, JsonSchemaOutput, OutputFormat
from rag_server.errors import InvalidArgument, Unavailable
from rag_server.generation.abstain import abstains, phrase_for
from rag_server.generation.attribution import Attributor
from rag_server.generation.compose import ATTEMPTS, Composed
from rag_server.generation.markdown import MarkdownCleaner, addresses_of
from rag_server.generation.output.form import Clean, Form, FormError
from rag_server.generation.prompt import PromptTemplates
from rag_server.text.language import detect_language

MAX_CLAIMS: Final = 32
"""Values of an answer, from the first on, for which a source is looked for."""


@dataclass(frozen=True, slots=True)
class _Draft:
    text: str
    usage: Usage
    reason: FinishReason | None


class StructuredWriter:
    """Gets answers of a form from models that write."""

    def __init__(self, templates: PromptTemplates, attributor: Attributor) -> None:
        self._templates = templates
        self._attributor = attributor

    async def write(
        self, generator: Generator, composed: Composed, form: Form
    ) -> AsyncGenerator[Words, None]:
        """Yield the answer whole, citations of its values, the usage of all attempts and the reason.

        A model that abstains, or whose provider withholds the answer, is not asked again.

        Raises:
            InvalidArgument: `OUTPUT_EXCEEDS_LIMIT`: the answer was cut.
            Unavailable: `OUTPUT_NOT_SATISFIED`: no attempt has the form.
        """
        prompt, request = composed.prompt, composed.prompt.request
        clean = await asyncio.to_thread(_cleaner, composed)
        usage, problem = Usage(0, 0), ""
        for _ in range(ATTEMPTS):
            draft = await _collected(generator, prompt)
            usage += draft.usage
            if draft.reason is FinishReason.COMPLETE and abstains(draft.text):
                yield Delta(phrase_for(request))
                yield usage
                yield FinishReason.NO_RELEVANT_CONTENT
                return
            try:
                answer = await asyncio.to_thread(form.accept, draft.text, clean)
            except FormError as error:
                problem = str(error)
            else:
                yield Delta(answer)
                async for cited in self._cited(answer, composed, form):
                    yield cited
                yield usage
                if draft.reason is not None:
                    yield draft.reason
                return
            if draft.reason is FinishReason.POLICY:
                yield usage
                yield draft.reason
                return
            if draft.reason is FinishReason.MAX_TOKENS:
                raise InvalidArgument.for_field(
                    "generation.max_answer_tokens",
                    "is too low for an answer of the form that generation.output asks for",
                    reason="OUTPUT_EXCEEDS_LIMIT",
                )
            prompt = await self._reminded(generator, composed, problem)
        raise Unavailable(
            "OUTPUT_NOT_SATISFIED",
            f"the model {generator.model.name!r} was asked {ATTEMPTS} times and its answer does not have the "
            f"form that generation.output asks for: {problem}",
            metadata={"model": generator.model.name},
        )

    async def _cited(self, answer: str, composed: Composed, form: Form) -> AsyncGenerator[Cited, None]:
        """Yield a citation for each value that a source says: no markers stand in such an answer."""
        claims = (await asyncio.to_thread(form.claims, answer))[:MAX_CLAIMS]
        if not claims:
            return
        request, sources = composed.prompt.request, composed.prompt.sources
        known = await self._attributor.read(sources, composed.offered, detect_language(request.question))
        for span, text in claims:
            support = await self._attributor.support(known, text)
            if support is not None:
                yield Cited(
                    Citation(
                        support.source_index,
                        span,
                        support.span,
                        support.text,
                        CitationOrigin.SIMILARITY,
                        support.similarity,
                    )
                )

    async def _reminded(self, generator: Generator, composed: Composed, problem: str) -> Prompt:
        """Return the prompt with a word on what was wrong, where there is room for it."""
        prompt, report = composed.prompt, composed.report
        assert report is not None
        language = report.template.rpartition("/")[2]
        note = self._templates.render_reminder(language, problem)
        (tokens,) = await asyncio.to_thread(generator.count_tokens, [note])
        if report.token_count + tokens + prompt.request.max_tokens > report.window_tokens:
            return prompt
        *others, last = prompt.messages
        assert last.role is Role.USER
        return replace(prompt, messages=(*others, replace(last, text=f"{last.text}\n\n{note}")))


async def _collected(generator: Generator, prompt: Prompt) -> _Draft:
    texts: list[str] = []
    usage, reason = Usage(0, 0), None
    async with aclosing(generator.generate(prompt)) as events:
        async for event in events:
            match event:
                case Delta(text):
                    texts.append(text)
                case Usage():
                    usage = event
                case FinishReason():
                    reason = event
                case Cited():
                    pass  # a generator that writes has none
    return _Draft("".join(texts), usage, reason)


def _cleaner(composed: Composed) -> Clean:
    """Return what cleans an answer's texts: addresses stay that the sources have, or the form itself."""
    output = composed.prompt.request.output
    assert output is not None
    addresses = composed.addresses | addresses_of(_text_of(output))

    def clean(text: str) -> str:
        cleaner = MarkdownCleaner(addresses)
        return cleaner.feed(text) + cleaner.end()

    return clean


def _text_of(output: OutputFormat) -> str:
    match output:
        case JsonSchemaOutput(schema):
            return schema
        case ChoiceOutput(choices):
            return "\n".join(choices)
        case _:
            return ""
