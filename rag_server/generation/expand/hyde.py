"""HyDE: the question is embedded together with passages that a model makes up to answer it.

What is made up may be wrong, but it looks like what is sought: the vector of the question becomes the mean of
its own and those of the passages. Only the dense leg uses it; BM25 keeps the words of the question, since
invented names and numbers would find what holds them. Gao, Ma, Lin and Callan: "Precise Zero-Shot Dense
Retrieval without Relevance Labels", 2022 (ACL 2023), equation 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rag_server.domain.expansion import ExpandedQuery, Hyde
from rag_server.domain.generation import Sampling
from rag_server.generation.expand.multi_query import TEMPLATE
from rag_server.generation.lines import one_line
from rag_server.generation.task_prompt import Task
from rag_server.generation.tasks import Written

MAX_CHARACTERS: Final = 2000
"""Of one passage; what is longer is cut."""

MAX_TOKENS: Final = 256

TEMPERATURE: Final = 0.7
"""Where several passages are to differ; that of the paper."""


def tasks(method: Hyde, question: str, language: str) -> list[Task]:
    """Return what a model is asked, once per passage."""
    samplings = [Sampling(temperature=TEMPERATURE, seed=seed) for seed in range(method.passage_count)]
    if method.passage_count == 1:
        samplings = [Sampling(temperature=0.0)]
    data = {"question": question}
    return [Task(TEMPLATE, "hyde", language, data, MAX_TOKENS, sampling=each) for each in samplings]


def read(method: Hyde, question: str, written: Sequence[Written]) -> ExpandedQuery | None:
    """Return the passages, each once; a cut one is still alike. None: there is none."""
    passages = dict.fromkeys(filter(None, (one_line(each.text)[:MAX_CHARACTERS] for each in written)))
    return ExpandedQuery(passages=tuple(passages)) if passages else None
