"""From a question to a cited answer: expand, retrieve, compose, generate, cite, ground, finish."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from rag_server.domain.generation import (
    Finished,
    FinishReason,
    GenerationEvent,
    GenerationRequest,
    Retrieved,
    Started,
    Usage,
)
from rag_server.domain.grounding import Grounding
from rag_server.domain.policy import PolicyReport
from rag_server.domain.retrieval import Degradation, Timings
from rag_server.domain.time_limit import TimeLimit
from rag_server.errors import Internal
from rag_server.generation.asking import Asked, Asks, usage_of
from rag_server.generation.compose import Composer
from rag_server.generation.expand.expanding import Expanding
from rag_server.generation.filters.screen import Screen
from rag_server.generation.ground import Grounder, Written
from rag_server.generation.head_start import head_start
from rag_server.generation.models import Models
from rag_server.query.field_paths import GENERATE
from rag_server.query.pipeline import Retrieval
from rag_server.timing import Stopwatch


class Answering:
    """Answers questions from what was ingested."""

    def __init__(
        self,
        retrieval: Retrieval,
        models: Models,
        composer: Composer,
        asking: Asks,
        expanding: Expanding,
        grounder: Grounder,
        screen: Screen | None = None,
    ) -> None:
        self._retrieval = retrieval
        self._models = models
        self._composer = composer
        self._asking = asking
        self._expanding = expanding
        self._grounder = grounder
        self._screen = screen or Screen()

    async def answer(
        self, tenant_id: str, request: GenerationRequest, *, limit: TimeLimit | None = None
    ) -> AsyncGenerator[GenerationEvent, None]:
        """Yield `Started`, `Retrieved`, the answer's words with their citations, then `Finished`.

        An answer that breaks raises; `Finished` always means that a generator came to its end.
        """
        watch = Stopwatch()
        route = self._models.route(request.model)
        await self._composer.check(route[0].generator, request)

        searched = None
        if request.expansion is not None:
            with watch.stage("expand"):
                expanded = await self._expanding.expand(request, route[0], limit)
                request, searched = expanded.request, expanded.searched
        before = request.preparation
        result = await self._retrieval.retrieve(tenant_id, request.retrieval, GENERATE, limit=limit)
        sources, policy = await self._screen.sources(result.results)
        with watch.stage("prompt"):
            composed = await self._composer.compose(route[0].generator, request, sources, limit)
        who = Asked(route[0].name, composed, is_fallback=False)
        reason: FinishReason | None = None
        grounding: Grounding | None = None
        stage = "generate"

        async def cost_of(text: str) -> Usage:
            return await usage_of(route, who, text)

        accepts = composed.form.holds if composed.form else None
        screened = self._screen.answer(self._asking.ask(route, composed), request, cost_of, accepts)
        # What is judged, and told of it, is what the caller gets.
        async with head_start(self._grounder.ground(screened, request)) as events:
            yield Started(route[0].name, composed.report, assistant=request.choice, searched=searched)
            yield Retrieved(
                sources,
                result.score_scale,
                (*before.degradations, *result.degradations),
                result.collection_revisions,
            )
            while True:
                with watch.stage(stage):  # not while the reader takes its time
                    event = await anext(events, None)
                if event is None:
                    break
                if isinstance(event, Asked):
                    who = event
                elif isinstance(event, Written):
                    stage = "ground"
                elif isinstance(event, Grounding):
                    grounding = event
                elif isinstance(event, FinishReason):
                    reason = event
                elif isinstance(event, PolicyReport):
                    policy = policy.joined(event)
                else:
                    yield event + before.usage if isinstance(event, Usage) else event
        if reason is None:
            raise Internal("GENERATION_INCOMPLETE", "the generator stopped without finishing its answer")
        yield Finished(
            reason,
            _in_order(watch.timings(), result.timings_us),
            who.model,
            (Degradation.FALLBACK_MODEL,) if who.is_fallback else (),
            who.composed.report,
            grounding=grounding,
            policy=policy or None,
            is_shared=who.is_shared,
        )


def _in_order(own: Timings, of_retrieval: Timings) -> Timings:
    """Return all stages in the order in which they began, and the total of this one."""
    before = {stage: own[stage] for stage in ("expand",) if stage in own}
    return {**before, **of_retrieval, **own}
