from __future__ import annotations

from typing import Any

import pytest

from rag.v1 import expansion_pb2, fusion_pb2, options_pb2
from rag.v1 import generate_service_pb2 as pb
from rag_server.validation.expansion_conditions import candidates_are_bounded, hyde_has_a_dense_leg

METHODS: dict[str, Any] = {
    "multi_query": {"query_count": 4},
    "decomposition": {"max_query_count": 4},
    "hyde": {"passage_count": 4},
}


def asking(method: str, *, collections: int = 1, **retrieval: Any) -> pb.GenerateRequest:
    expansion = expansion_pb2.QueryExpansion(**{method: METHODS[method]})
    return pb.GenerateRequest(
        collection_ids=[str(number) for number in range(collections)],
        retrieval=options_pb2.RetrievalOptions(**retrieval),
        generation=options_pb2.GenerationOptions(expansion=expansion),
    )


@pytest.mark.parametrize("kind", ["rrf", "adaptive"])
def test_hyde_without_the_dense_leg_is_refused(kind: str) -> None:
    fusion = fusion_pb2.Fusion(**{kind: {"dense_weight": 0}})  # type: ignore[arg-type]
    (finding,) = hyde_has_a_dense_leg(asking("hyde", fusion=fusion))
    assert finding.path == "generation.expansion.hyde"
    assert not list(hyde_has_a_dense_leg(asking("multi_query", fusion=fusion)))
    assert not list(hyde_has_a_dense_leg(asking("hyde")))


@pytest.mark.parametrize("method", ["multi_query", "decomposition"])
def test_candidates_of_all_queries_have_a_limit(method: str) -> None:
    assert not list(candidates_are_bounded(asking(method, candidate_count=1000, collections=2)))
    (finding,) = candidates_are_bounded(asking(method, candidate_count=1001, collections=2))
    assert finding.path == "retrieval.candidate_count"
    assert "10010" in finding.description


def test_candidates_of_one_query_have_none_of_it() -> None:
    assert not list(candidates_are_bounded(asking("hyde", candidate_count=2000, collections=16)))
    assert not list(candidates_are_bounded(pb.GenerateRequest()))
