from __future__ import annotations

import math

from rag_server.backends.extractive.statistics import SentenceStatistics
from rag_server.domain.generation import GenerationRequest
from rag_server.domain.retrieval import RetrievalRequest


def test_idf_is_that_of_bm25() -> None:
    statistics = SentenceStatistics([{"a", "b"}, {"a"}, {"a"}])
    assert math.isclose(statistics.idf("b"), math.log(1 + 2.5 / 1.5))


def test_idf_rarer_weighs_more_and_everywhere_still_counts() -> None:
    statistics = SentenceStatistics([{"a", "b"}, {"a"}, {"a"}])
    assert statistics.idf("absent") > statistics.idf("b") > statistics.idf("a") > 0


def test_idf_without_sentences_is_positive() -> None:
    request = GenerationRequest(RetrievalRequest(("c",), "q"))
    assert SentenceStatistics.of_sources(request, []).idf("a") > 0
