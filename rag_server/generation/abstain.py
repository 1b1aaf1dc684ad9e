"""Answers that say that there is no answer, in the language of the question."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from rag_server.domain.generation import Delta, FinishReason, GenerationRequest, Usage, Words
from rag_server.generation.prompt import NO_ANSWER
from rag_server.text.language import detect_language
from rag_server.text.phrases import no_relevant_content

_AROUND = " \t\n\r.`*\"'["
"""Signs that models put around a fixed reply."""
_LONGEST = 64
"""Code points after which no fixed reply is waited for any longer."""


def phrase_for(request: GenerationRequest) -> str:
    """Return what an abstention says."""
    return no_relevant_content(request.language or detect_language(request.question))


def abstains(text: str) -> bool:
    """Whether a whole answer is the reply of a model that was told how to abstain."""
    return text.lstrip(_AROUND).startswith(NO_ANSWER)


async def abstain(request: GenerationRequest) -> AsyncGenerator[Words, None]:
    """Abstain without asking a model: there is nothing to answer from."""
    yield Delta(phrase_for(request))
    yield Usage(0, 0)
    yield FinishReason.NO_RELEVANT_CONTENT


async def abstention_named(
    words: AsyncGenerator[Words, None], request: GenerationRequest
) -> AsyncGenerator[Words, None]:
    """Replace the reply of a model that was told how to abstain; other words pass as they come."""
    held = ""
    is_decided = is_abstention = False
    async with aclosing(words) as events:
        async for event in events:
            if isinstance(event, Delta) and not is_decided:
                held += event.text
                start = held.lstrip(_AROUND)
                is_abstention = abstains(held)
                is_decided = is_abstention or not NO_ANSWER.startswith(start) or len(held) > _LONGEST
                if is_decided:
                    yield Delta(phrase_for(request) if is_abstention else held)
            elif isinstance(event, Delta):
                if not is_abstention:  # what a model adds to it is of no use to anybody
                    yield event
            else:
                if held and not is_decided:
                    is_decided = True
                    yield Delta(held)
                is_complete = event in {FinishReason.COMPLETE, FinishReason.MAX_TOKENS}
                yield FinishReason.NO_RELEVANT_CONTENT if is_abstention and is_complete else event
