"""Who rewrites a follow-up question: a model where one is there, else the rules, or nobody."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from rag_server.domain.conversation import HistoryMessage
from rag_server.domain.generation import GenerationRequest, Preparation
from rag_server.domain.retrieval import Degradation, QuerySyntax
from rag_server.domain.rewriting import ModelRewriting, NoRewriting, RulesRewriting
from rag_server.domain.time_limit import TimeLimit
from rag_server.errors import InvalidArgument
from rag_server.generation.follow_up import FollowUpWords
from rag_server.generation.model_rewriter import ModelRewriter
from rag_server.generation.models import ServedModel
from rag_server.generation.rewriter import Rewritten
from rag_server.generation.tasks import TaskFailed, Tasks

log = structlog.get_logger()


class Rewriting:
    """A `QuestionRewriter` that a request, or else a setting, chooses the method of.

    A model that fails, or has no room in the limit of costs, leaves the question to the rules, which is a
    degradation. So does, without being one, a question with operators: in a model's words they would mean
    something else.
    """

    def __init__(self, tasks: Tasks, rules: FollowUpWords, *, model: str | None = "") -> None:
        """`model`: what is asked by default; empty: the answer's, if it writes; None: the rules."""
        self._tasks = tasks
        self._rules = rules
        self._by_model = ModelRewriter(tasks)
        self._default = model

    async def rewrite(
        self,
        request: GenerationRequest,
        history: Sequence[HistoryMessage],
        language: str,
        limit: TimeLimit | None,
    ) -> Rewritten:
        """Return what to search with.

        Raises `InvalidArgument` (`MODEL_UNKNOWN`, `MODEL_CANNOT_WRITE`) for a model that the request names.
        """
        if isinstance(request.rewriting, NoRewriting):
            return Rewritten(request.question)
        preparation = Preparation()
        served = self._writer(request)
        if served is not None and request.retrieval.syntax is QuerySyntax.PLAIN:
            try:
                question, preparation = await self._by_model.rewrite(served, request, history, limit)
            except (TaskFailed, InvalidArgument) as failed:
                log.warning("question not rewritten", model=served.name, reason=failed.reason)
                question = None
            if question is not None:
                return Rewritten(question, preparation)
            preparation += Preparation(degradations=(Degradation.NO_REWRITE,))
        return Rewritten(await self._rules.rewrite(request.question, history, language), preparation)

    def _writer(self, request: GenerationRequest) -> ServedModel | None:
        """Return the model to ask; None: the rules do."""
        match request.rewriting:
            case RulesRewriting():
                return None
            case ModelRewriting(model):
                name = model or request.model
                path = "generation.rewriting.model.model" if model else "generation.model"
                served = self._tasks.writer(name, path=path)
                if served is None:
                    error = InvalidArgument.for_field(
                        path,
                        "has to be a model that writes, to rewrite the question: this one only quotes",
                        reason="MODEL_CANNOT_WRITE",
                    )
                    error.metadata["model"] = name
                    raise error
                return served
            case _:
                if self._default is None:
                    return None
                return self._tasks.writer(self._default or request.model)
