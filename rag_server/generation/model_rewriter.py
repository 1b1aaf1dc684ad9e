"""Follow-up questions by a model: it is told what was said before, and makes the question stand alone.

Elgohary, Peskov and Boyd-Graber: "Can You Unpack That? Learning to Rewrite Questions-in-Context", EMNLP 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rag_server.domain.conversation import HistoryMessage
from rag_server.domain.generation import GenerationRequest, Preparation
from rag_server.domain.time_limit import TimeLimit
from rag_server.generation.lines import lines_of
from rag_server.generation.models import ServedModel
from rag_server.generation.prompt import language_of
from rag_server.generation.task_prompt import Task, transcript
from rag_server.generation.tasks import Tasks

TEMPLATE: Final = "rewrite/1"

MAX_CHARACTERS: Final = 1024
"""Of a rewritten question. One that is longer itself says enough, and is not rewritten."""

MAX_TOKENS: Final = 256

SPEAKERS: Final = {
    "en": {"user": "User", "assistant": "Assistant"},
    "es": {"user": "Usuario", "assistant": "Asistente"},
}

BEFORE: Final = {"en": "What was said before, in short", "es": "Lo que se dijo antes, en resumen"}


class ModelRewriter:
    """Asks a model to rewrite questions."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    async def rewrite(
        self,
        served: ServedModel,
        request: GenerationRequest,
        history: Sequence[HistoryMessage],
        limit: TimeLimit | None,
    ) -> tuple[str | None, Preparation]:
        """Return the question, and what it took; None: the model's reply is not one question.

        Raises what `Tasks.write` raises.
        """
        if len(request.question) > MAX_CHARACTERS:
            return request.question, Preparation()
        language = language_of(request)
        said = transcript(history, SPEAKERS[language])
        if request.summary is not None:
            said = f"{BEFORE[language]}: {request.summary.text}\n{said}"
        data = {
            "conversation": said,
            "question": " ".join(request.question.split()),
        }
        task = Task(TEMPLATE, "rewrite", language, data, MAX_TOKENS)
        written = await self._tasks.write(served, task, request, limit)
        lines = lines_of(written.text, max_count=2, max_characters=MAX_CHARACTERS)
        is_one = written.is_whole and len(lines) == 1
        return (lines[0] if is_one else None), written.spent
