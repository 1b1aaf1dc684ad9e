"""The answer to a question that a filter refuses."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from rag_server.domain.generation import (
    Delta,
    Finished,
    FinishReason,
    GenerationEvent,
    GenerationRequest,
    Started,
    Usage,
)
from rag_server.domain.policy import PolicyReport
from rag_server.text.language import detect_language
from rag_server.text.phrases import question_refused
from rag_server.timing import Stopwatch


async def refused(request: GenerationRequest, policy: PolicyReport) -> AsyncGenerator[GenerationEvent, None]:
    """Yield a sentence in the language of the question; no model is asked, nothing is retrieved."""
    watch = Stopwatch()
    yield Started("")
    yield Delta(question_refused(request.language or detect_language(request.question)))
    yield Usage(0, 0)
    yield Finished(FinishReason.POLICY, watch.timings(), policy=policy)
