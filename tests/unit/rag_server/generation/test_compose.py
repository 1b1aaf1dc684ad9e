from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from rag_server.domain.conversation import HistoryMessage, Role
from rag_server.domain.generation import GenerationRequest, Message
from rag_server.domain.retrieval import ScoredChunk
from rag_server.generation.compose import Composer
from rag_server.generation.prompt import PromptTemplates
from rag_server.testing.generator_suite import SOURCES, source
from tests.unit.rag_server.generation.scripted import Scripted, asked

LONG = "The grey heron waits by the river at dawn. " * 30


class Watched(Scripted):
    """Remembers the threads that count its prompts."""

    def __init__(self) -> None:
        super().__init__("at dawn")
        self.threads: set[threading.Thread] = set()

    def count_prompt(self, messages: Sequence[Message]) -> int:
        self.threads.add(threading.current_thread())
        return super().count_prompt(messages)


async def threads_of(request: GenerationRequest, sources: tuple[ScoredChunk, ...]) -> set[threading.Thread]:
    generator = Watched()
    await Composer(PromptTemplates()).compose(generator, request, sources, None)
    return generator.threads


async def test_short_prompt_is_written_where_it_is_asked_for() -> None:
    assert await threads_of(asked(), SOURCES[:1]) == {threading.current_thread()}


@pytest.mark.parametrize(
    ("request_", "sources"),
    [
        (asked(), (source(LONG),)),
        (asked(), (replace(SOURCES[0], context_before=(source(LONG).chunk,)),)),
        (asked(), (source("At dawn.", title=LONG),)),
        (asked(), tuple(source("At dawn.", index) for index in range(50))),
        (asked(LONG), SOURCES[:1]),
        (asked(instructions=LONG), SOURCES[:1]),
        (asked(history=(HistoryMessage(Role.USER, LONG),)), SOURCES[:1]),
    ],
    ids=["source", "context", "title", "sources", "question", "instructions", "history"],
)
async def test_long_prompt_is_written_in_another_thread(
    request_: GenerationRequest, sources: tuple[ScoredChunk, ...]
) -> None:
    threads = await threads_of(request_, sources)
    assert threads
    assert threading.current_thread() not in threads
