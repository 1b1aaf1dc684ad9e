"""Models that play back what a test writes, and requests to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from rag_server.backends.protocols import GeneratorModel, Price
from rag_server.domain.generation import Delta, FinishReason, GenerationRequest, Prompt, Usage
from rag_server.domain.retrieval import RetrievalRequest
from rag_server.generation.admission import Gate
from rag_server.generation.cost import CostLimit
from rag_server.generation.models import Models, ServedModel
from rag_server.generation.task_prompt import TaskTemplates
from rag_server.generation.tasks import Tasks

Reply = str | Exception | FinishReason | asyncio.Event


class Scripted:
    """Implements `Generator`: each call gets the next reply, the last one again and again.

    An exception is raised, a reason ends the reply `cut` with it, an event is waited for.
    """

    def __init__(
        self,
        *replies: Reply,
        name: str = "writer",
        window: int | None = 4096,
        price: Price | None = None,
    ) -> None:
        self.model = GeneratorModel(name, "local", window, True, price)
        self.replies = list(replies)
        self.prompts: list[Prompt] = []
        self.reached = asyncio.Event()
        """It has been asked."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Any, None]:
        self.prompts.append(prompt)
        self.reached.set()
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        reason = FinishReason.COMPLETE
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, asyncio.Event):
            await reply.wait()
        if isinstance(reply, FinishReason):
            reply, reason = "first line\ncut", reply
        yield Delta(str(reply))
        yield Usage(10, 2)
        yield reason

    async def check(self) -> None:
        return None

    async def close(self) -> None:
        return None


def tasks_of(
    *generators: Scripted, max_cost: float | None = None, timeout_s: float = 60.0, queue: int = 9
) -> Tasks:
    """Return what has the generators do tasks; the first one is the default."""
    served = [ServedModel(each, Gate(each.model.name, permits=1, queue=queue)) for each in generators]
    return Tasks(Models(served), TaskTemplates(), CostLimit(max_cost), timeout_s=timeout_s)


def asked(question: str = "When does the heron wait?", **fields: Any) -> GenerationRequest:
    """Return a request."""
    return GenerationRequest(RetrievalRequest(("books",), question), **fields)
