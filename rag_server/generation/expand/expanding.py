"""The expand stage: has a model write what a method needs; without it the question alone is searched."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

import structlog

from rag_server.concurrency import run_all
from rag_server.domain.expansion import (
    Decomposition,
    ExpandedQuery,
    ExpansionMethod,
    Hyde,
    MultiQuery,
    QueryExpansion,
    SearchedWith,
)
from rag_server.domain.generation import GenerationRequest, Preparation
from rag_server.domain.retrieval import Degradation
from rag_server.domain.time_limit import TimeLimit
from rag_server.errors import InvalidArgument
from rag_server.generation.expand import decomposition, hyde, multi_query
from rag_server.generation.models import ServedModel
from rag_server.generation.prompt import language_of
from rag_server.generation.task_prompt import Task
from rag_server.generation.tasks import TaskFailed, Tasks, Written

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Expanded:
    """A request after the stage."""

    request: GenerationRequest
    searched: SearchedWith | None = None
    """None: the question alone is searched, since nothing else was asked for or the model could not."""


class Expanding:
    """Expands questions."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    async def expand(
        self, request: GenerationRequest, answering: ServedModel, limit: TimeLimit | None
    ) -> Expanded:
        """Return `request` with what else is searched for it; `answering` is asked where it names no model.

        A model that fails is a degradation of the request. Raises `InvalidArgument`: `MODEL_UNKNOWN`,
        `MODEL_CANNOT_WRITE`, and `COST_LIMIT_EXCEEDED`, before any model is asked.
        """
        expansion = request.expansion
        if expansion is None:
            return Expanded(request)
        served = self._writer(expansion, answering)
        question = request.retrieval.query
        tasks = _tasks(expansion.method, question, language_of(request))
        answers = await run_all(self._write(served, task, request, limit) for task in tasks)
        written = [each for each in answers if each is not None]
        request = request.prepared(sum((each.spent for each in written), Preparation()))
        found = _read(expansion.method, question, written) if written else None
        if found is None:
            return Expanded(request.prepared(Preparation(degradations=(Degradation.NO_EXPANSION,))))
        searched = SearchedWith(served.name, (question, *found.queries), found.passages)
        return Expanded(replace(request, retrieval=replace(request.retrieval, expanded=found)), searched)

    def _writer(self, expansion: QueryExpansion, answering: ServedModel) -> ServedModel:
        path = "generation.expansion.model" if expansion.model else "generation.expansion"
        served: ServedModel | None = answering
        if expansion.model:
            served = self._tasks.writer(expansion.model, path=path)
        if served is None or served.generator.model.window_tokens is None:
            name = expansion.model or answering.name
            error = InvalidArgument.for_field(
                path,
                f"needs a model that writes: {name!r} only quotes",
                reason="MODEL_CANNOT_WRITE",
            )
            error.metadata["model"] = name
            raise error
        return served

    async def _write(
        self, served: ServedModel, task: Task, request: GenerationRequest, limit: TimeLimit | None
    ) -> Written | None:
        try:
            return await self._tasks.write(served, task, request, limit)
        except TaskFailed as failed:
            log.warning("query not expanded", model=served.name, task=task.name, reason=failed.reason)
            return None


def _tasks(method: ExpansionMethod, question: str, language: str) -> list[Task]:
    match method:
        case MultiQuery():
            return multi_query.tasks(method, question, language)
        case Hyde():
            return hyde.tasks(method, question, language)
        case Decomposition():
            return decomposition.tasks(method, question, language)
        case _:
            assert_never(method)


def _read(method: ExpansionMethod, question: str, written: list[Written]) -> ExpandedQuery | None:
    match method:
        case MultiQuery():
            return multi_query.read(method, question, written)
        case Hyde():
            return hyde.read(method, question, written)
        case Decomposition():
            return decomposition.read(method, question, written)
        case _:
            assert_never(method)
