"""Summaries of conversations by a model, in the background, after an answer.

What no longer fits the window of the next question is summarised bit by bit: the summary so far and the
messages that fell out since become a new one (Wang et al.: "Recursively Summarizing Enables Long-Term
Dialogue Memory in Large Language Models", 2023). Where the model fails, the queue is full or the server
stops, the messages are left out as they are without a summary; the next answer gives them another chance.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from rag_server.domain.conversation import HistoryMessage, Role, StoredSummary
from rag_server.domain.generation import GenerationRequest
from rag_server.domain.priority import Priority
from rag_server.domain.retrieval import RetrievalRequest
from rag_server.errors import RagError
from rag_server.generation.filters.screen import Screen
from rag_server.generation.history import HistoryWindow
from rag_server.generation.lines import one_line
from rag_server.generation.model_rewriter import SPEAKERS
from rag_server.generation.models import ServedModel
from rag_server.generation.prompt import language_of
from rag_server.generation.task_prompt import Task, transcript
from rag_server.generation.tasks import TaskFailed, Tasks
from rag_server.metadata.database import Database

TEMPLATE: Final = "summary/1"

WAITING: Final = 64
"""Conversations that may wait for a summary."""

MAX_TOKENS: Final = 400

MAX_CHARACTERS: Final = 2000
"""Of a summary."""

MESSAGE_CHARACTERS: Final = 1000
"""Of a message that the model is told."""

MESSAGES: Final = 4
"""That the model is told at once: with the summary so far and the new one, a window of 4096 tokens holds
them in English or Spanish."""

STEPS: Final = 8
"""How often the model is asked for one conversation. What is left then waits for its next answer."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Continued:
    """A conversation that has got an answer."""

    tenant_id: str
    conversation_id: str
    language: str
    """Of the answer."""


class SummaryWriter:
    """Summarises conversations, one at a time, after whoever waits for an answer."""

    def __init__(
        self,
        database: Database,
        tasks: Tasks,
        window: HistoryWindow,
        model: str,
        screen: Screen | None = None,
    ) -> None:
        """Make a writer.

        Args:
            database: Where the conversations are.
            tasks: What asks models.
            window: What a generator is told in full.
            model: Name or alias of the model to ask.
            screen: What messages and summaries go through that may be older than the filters.
        """
        self._database = database
        self._tasks = tasks
        self._window = window
        self._model = model
        self._screen = screen or Screen()
        self._waiting: asyncio.Queue[Continued] = asyncio.Queue(WAITING)

    def offer(self, continued: Continued) -> None:
        """Have a conversation looked at soon, if there is room; never waits."""
        if self._waiting.full():
            log.warning("conversation not summarised", reason="QUEUE_FULL")
            return
        self._waiting.put_nowait(continued)

    async def run(self) -> None:
        """Summarise what waits, until cancelled."""
        while True:
            continued = await self._waiting.get()
            try:
                await self.summarise(continued)
            except (TaskFailed, RagError) as failed:
                log.warning("conversation not summarised", reason=failed.reason)

    async def summarise(self, continued: Continued) -> None:
        """Bring the summary of a conversation up to the first message that its next question is told in full.

        Raises `TaskFailed`, `NotFound` where the conversation is gone, and what the database raises. What was
        done until then stays.
        """
        first = await self._first_told(continued)
        for _ in range(STEPS):
            served = self._tasks.writer(self._model)
            if served is None or not await self._step(continued, served, first):
                return

    async def _first_told(self, continued: Continued) -> int | None:
        """Return the sequence number of the first message that the next question is told; None: none is."""
        own, limit = continued, self._window.budget.max_messages
        async with self._database.snapshot() as tx:
            recent = await tx.messages.recent(own.tenant_id, own.conversation_id, limit=limit)
        kept = await self._window.fit(await self._screen.history(recent))
        return kept[0].sequence if kept else None

    async def _step(self, continued: Continued, served: ServedModel, first: int | None) -> bool:
        """Put a few messages before `first` into the summary; return whether there may be more."""
        own = continued
        async with self._database.snapshot() as tx:
            before = await tx.summaries.get(own.tenant_id, own.conversation_id)
            fallen = await tx.messages.oldest(
                own.tenant_id, own.conversation_id, after=before.sequence, before=first, limit=MESSAGES
            )
        if not fallen:
            return False
        text = await self._written(continued, served, before, fallen)
        async with self._database.transaction() as tx:
            is_ours = await tx.summaries.put(
                own.tenant_id,
                own.conversation_id,
                text,
                fallen[-1].sequence,
                expected=before.sequence,
            )
        return is_ours and len(fallen) == MESSAGES

    async def _written(
        self,
        continued: Continued,
        served: ServedModel,
        before: StoredSummary,
        fallen: Sequence[HistoryMessage],
    ) -> str:
        so_far = HistoryMessage(Role.ASSISTANT, before.text)
        so_far, *fallen = await self._screen.history([so_far, *fallen])
        request = GenerationRequest(
            RetrievalRequest((), fallen[0].text), language=continued.language, priority=Priority.BULK
        )
        language = language_of(request)
        said = [replace(each, text=each.text[:MESSAGE_CHARACTERS]) for each in fallen]
        data = {"summary": so_far.text, "conversation": transcript(said, SPEAKERS[language])}
        task = Task(TEMPLATE, "summary", language, data, MAX_TOKENS)
        written = await self._tasks.write(served, task, request, None)
        text = one_line(written.text)
        if not written.is_whole or len(text) > MAX_CHARACTERS or not any(map(str.isalnum, text)):
            raise TaskFailed("NO_SUMMARY")
        return text
