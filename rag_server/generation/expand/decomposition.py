"""Decomposition: the questions that a question is made of, each searched; their passages take turns.

What one of them finds first is among the first of all, however little the others think of it: a sum of ranks
would prefer what is a little about everything. That a model can take questions apart is shown by Press et
al.: "Measuring and Narrowing the Compositionality Gap in Language Models", 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rag_server.domain.expansion import Decomposition, ExpandedQuery, Merging
from rag_server.generation.expand.multi_query import MAX_CHARACTERS, TEMPLATE, TOKENS_PER_QUERY
from rag_server.generation.lines import lines_of
from rag_server.generation.task_prompt import Task
from rag_server.generation.tasks import Written

MIN_QUERIES: Final = 2
"""A question that is made of fewer asks one thing only: it is searched as it is."""


def tasks(method: Decomposition, question: str, language: str) -> list[Task]:
    """Return what a model is asked."""
    numbers = {"count": method.max_query_count}
    room = TOKENS_PER_QUERY * method.max_query_count
    return [Task(TEMPLATE, "decomposition", language, {"question": question}, room, numbers)]


def read(method: Decomposition, question: str, written: Sequence[Written]) -> ExpandedQuery | None:
    """Return the questions, none for a question that asks one thing; None: the model says nothing."""
    (own,) = written
    lines = lines_of(
        own.text, max_count=method.max_query_count, max_characters=MAX_CHARACTERS, is_whole=own.is_whole
    )
    if not lines:
        return None
    return ExpandedQuery(tuple(lines) if len(lines) >= MIN_QUERIES else (), Merging.BEST)
