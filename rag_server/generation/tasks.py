"""Small tasks for models beside the answer: rewrite, expand, name. Bounded in time, length and cost.

They go through the model's gate as answers do. What a model writes is no more than a proposal: who asked
reads it strictly, and goes on without it when there is nothing in it.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from rag_server.domain.generation import (
    Delta,
    FinishReason,
    GenerationRequest,
    Message,
    Preparation,
    Prompt,
    Usage,
)
from rag_server.domain.retrieval import RetrievalRequest
from rag_server.domain.time_limit import TimeLimit
from rag_server.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable
from rag_server.generation.budget import MESSAGE_TOKENS
from rag_server.generation.cost import CostLimit
from rag_server.generation.models import Models, ServedModel
from rag_server.generation.task_prompt import Task, TaskTemplates

SHARE_OF_TIME: Final = 0.5
"""Of what is left of the call's time, a task gets so much at most: the answer needs the rest."""

_THOUGHT: Final = re.compile(r"\A\s*<think>.*?(?:</think>|\Z)", re.DOTALL)
"""What models that reason put before their answer."""


class TaskFailed(Exception):
    """The model could not be asked, or did not answer in time. `reason` is for the log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Written:
    """What a model wrote."""

    text: str
    is_whole: bool
    """Whether it came to its end, rather than to `max_tokens`."""
    spent: Preparation


class Tasks:
    """Has models do tasks."""

    def __init__(
        self, models: Models, templates: TaskTemplates, costs: CostLimit, *, timeout_s: float
    ) -> None:
        """`timeout_s`: how long one is waited for, its turn included."""
        self._models = models
        self._templates = templates
        self._costs = costs
        self._timeout_s = timeout_s

    def writer(self, name: str, *, path: str = "generation.model") -> ServedModel | None:
        """Return the model for `name`, empty for the default; None: it cannot write.

        Raises `InvalidArgument` (`MODEL_UNKNOWN`), naming the field `path`.
        """
        served = self._models.route(name, path=path)[0]
        return None if served.generator.model.window_tokens is None else served

    async def write(
        self, served: ServedModel, task: Task, request: GenerationRequest, limit: TimeLimit | None
    ) -> Written:
        """Have `served`, which can write, do a task for a request.

        Raises `InvalidArgument` (`COST_LIMIT_EXCEEDED`) before it is asked, and `TaskFailed`.
        """
        seconds = self._timeout_s
        if limit is not None:
            seconds = min(seconds, SHARE_OF_TIME * limit.left_s())
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                return await self._write(served, task, request, TimeLimit.after(seconds))
        except TimeoutError as error:
            raise TaskFailed("TIMEOUT") from error
        except (Unavailable, ResourceExhausted, FailedPrecondition) as error:
            raise TaskFailed(error.reason) from error
        except InvalidArgument as error:
            if error.reason == "COST_LIMIT_EXCEEDED":
                raise
            raise TaskFailed(error.reason) from error

    async def _write(
        self, served: ServedModel, task: Task, request: GenerationRequest, limit: TimeLimit
    ) -> Written:
        model = served.generator.model
        messages, counts = await asyncio.to_thread(self._rendered, served, task)
        total = sum(counts) + MESSAGE_TOKENS * len(counts)
        if total + task.max_tokens > (model.window_tokens or 0):
            raise TaskFailed("WINDOW")
        self._costs.check(model, request, total, task.max_tokens)
        own = GenerationRequest(
            RetrievalRequest((), request.question), max_tokens=task.max_tokens, sampling=task.sampling
        )
        usage, reason, pieces = Usage(0, 0), FinishReason.COMPLETE, []
        async with (
            served.gate.turn(request.priority),
            aclosing(served.generator.generate(Prompt(own, (), messages, limit))) as events,
        ):
            async for event in events:
                match event:
                    case Delta(text):
                        pieces.append(text)
                    case Usage():
                        usage = event
                    case FinishReason():
                        reason = event
        if reason is FinishReason.POLICY:
            raise TaskFailed("POLICY")
        price = model.price
        cost = price.of(usage.prompt_token_count, usage.answer_token_count) if price else 0.0
        text = _THOUGHT.sub("", "".join(pieces)).strip()
        return Written(text, reason is FinishReason.COMPLETE, Preparation(usage, cost))

    def _rendered(self, served: ServedModel, task: Task) -> tuple[tuple[Message, ...], list[int]]:
        """Return the messages of a task, and the tokens of each."""
        messages = self._templates.render(task)
        return messages, served.generator.count_tokens([each.text for each in messages])
