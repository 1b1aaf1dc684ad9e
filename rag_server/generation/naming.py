"""Titles of conversations by a model, in the background, after the first answer.

The first question's words are the title until then (`domain.conversation.title_of`), and stay it where the
model fails, the queue is full or the server stops. What a user has called a conversation is never changed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog

from rag_server.domain.conversation import HistoryMessage, Role, title_of
from rag_server.domain.generation import GenerationRequest
from rag_server.domain.priority import Priority
from rag_server.domain.retrieval import RetrievalRequest
from rag_server.errors import RagError
from rag_server.generation.lines import lines_of
from rag_server.generation.model_rewriter import SPEAKERS
from rag_server.generation.prompt import language_of
from rag_server.generation.task_prompt import Task, transcript
from rag_server.generation.tasks import TaskFailed, Tasks
from rag_server.metadata.database import Database

TEMPLATE: Final = "title/1"

WAITING: Final = 64
"""Conversations that may wait for a title; further ones keep the words of their question."""

MAX_TOKENS: Final = 48

MAX_CHARACTERS: Final = 2000
"""Of the question, and of the answer, that the model is told."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Exchange:
    """The first question of a conversation and its answer."""

    tenant_id: str
    conversation_id: str
    question: str
    answer: str
    language: str


class TitleWriter:
    """Names conversations, one at a time, after whoever waits for an answer."""

    def __init__(self, database: Database, tasks: Tasks, model: str) -> None:
        """`model`: name or alias of the model to ask."""
        self._database = database
        self._tasks = tasks
        self._model = model
        self._waiting: asyncio.Queue[Exchange] = asyncio.Queue(WAITING)

    def offer(self, exchange: Exchange) -> None:
        """Have a conversation named soon, if there is room; never waits."""
        if self._waiting.full():
            log.warning("conversation not named", reason="QUEUE_FULL")
            return
        self._waiting.put_nowait(exchange)

    async def run(self) -> None:
        """Name what waits, until cancelled."""
        while True:
            exchange = await self._waiting.get()
            try:
                await self.name(exchange)
            except (TaskFailed, RagError) as failed:
                log.warning("conversation not named", reason=failed.reason)

    async def name(self, exchange: Exchange) -> None:
        """Name one conversation, if its title is still that of its first question."""
        given = title_of(exchange.question)
        async with self._database.snapshot() as tx:
            conversation = await tx.conversations.get(exchange.tenant_id, exchange.conversation_id)
        served = self._tasks.writer(self._model)
        if served is None or conversation.title != given:
            return
        request = GenerationRequest(
            RetrievalRequest((), exchange.question), language=exchange.language, priority=Priority.BULK
        )
        language = language_of(request)
        said = (
            HistoryMessage(Role.USER, exchange.question[:MAX_CHARACTERS]),
            HistoryMessage(Role.ASSISTANT, exchange.answer[:MAX_CHARACTERS]),
        )
        data = {"conversation": transcript(said, SPEAKERS[language])}
        task = Task(TEMPLATE, "title", language, data, MAX_TOKENS)
        written = await self._tasks.write(served, task, request, None)
        lines = lines_of(written.text, max_count=2, max_characters=MAX_CHARACTERS)
        title = title_of(lines[0]).rstrip(". ") if written.is_whole and len(lines) == 1 else ""
        if not title:
            raise TaskFailed("NO_TITLE")
        async with self._database.transaction() as tx:
            await tx.conversations.retitle(
                exchange.tenant_id, exchange.conversation_id, title, expected=given
            )
