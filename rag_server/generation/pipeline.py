"""From a question to a cited answer, as typed events: retrieve, generate, finish."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from rag_server.backends.protocols import Generator
from rag_server.domain.generation import (
    Finished,
    FinishReason,
    GenerationEvent,
    GenerationRequest,
    Retrieved,
    Started,
)
from rag_server.domain.time_limit import TimeLimit
from rag_server.errors import Internal
from rag_server.query.field_paths import GENERATE
from rag_server.query.pipeline import Retrieval
from rag_server.timing import Stopwatch


class Answering:
    """Answers questions from what was ingested."""

    def __init__(self, retrieval: Retrieval, generator: Generator) -> None:
        self._retrieval = retrieval
        self._generator = generator

    async def answer(
        self, tenant_id: str, request: GenerationRequest, *, limit: TimeLimit | None = None
    ) -> AsyncGenerator[GenerationEvent, None]:
        """Yield `Started`, `Retrieved`, what the generator says, then `Finished`.

        An answer that breaks raises; `Finished` always means that the generator came to its end.
        """
        watch = Stopwatch()
        yield Started(self._generator.model)

        result = await self._retrieval.retrieve(tenant_id, request.retrieval, GENERATE, limit=limit)
        yield Retrieved(result.results, result.score_scale, result.degradations, result.collection_revisions)

        reason: FinishReason | None = None
        async with aclosing(self._generator.generate(request, result.results)) as events:
            while True:
                with watch.stage("generate"):  # not while the reader takes its time
                    event = await anext(events, None)
                if event is None:
                    break
                if isinstance(event, FinishReason):
                    reason = event
                else:
                    yield event
        if reason is None:
            raise Internal("GENERATION_INCOMPLETE", "the generator stopped without finishing its answer")
        yield Finished(reason, {**result.timings_us, **watch.timings()})
