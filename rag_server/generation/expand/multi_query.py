"""Multi-query: the question in other words, each searched, the rankings merged by reciprocal ranks.

A passage that says the same in other words than the question is found by one of the others. Rackauckas:
"RAG-Fusion: a New Take on Retrieval-Augmented Generation", 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rag_server.domain.expansion import ExpandedQuery, Merging, MultiQuery
from rag_server.generation.lines import lines_of
from rag_server.generation.task_prompt import Task
from rag_server.generation.tasks import Written

TEMPLATE: Final = "expand/1"

MAX_CHARACTERS: Final = 512
"""Of one query."""

TOKENS_PER_QUERY: Final = 96


def tasks(method: MultiQuery, question: str, language: str) -> list[Task]:
    """Return what a model is asked."""
    numbers = {"count": method.query_count}
    room = TOKENS_PER_QUERY * method.query_count
    return [Task(TEMPLATE, "multi_query", language, {"question": question}, room, numbers)]


def read(method: MultiQuery, question: str, written: Sequence[Written]) -> ExpandedQuery | None:
    """Return the queries; None: there is none but the question itself."""
    (own,) = written
    lines = lines_of(
        own.text, max_count=method.query_count + 1, max_characters=MAX_CHARACTERS, is_whole=own.is_whole
    )
    others = [line for line in lines if line.casefold() != question.strip().casefold()]
    return ExpandedQuery(tuple(others[: method.query_count]), Merging.SUM) if others else None
