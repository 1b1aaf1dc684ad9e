from __future__ import annotations

from rag.v1 import retrieved_chunk_pb2
from rag_server.domain.retrieval import ScoreScale
from rag_server.services.wire.rerank import to_rerank_response


def test_rerank_response_keeps_order_indices_and_scores() -> None:
    ranking = [(2, 0.75), (0, -0.5)]

    response = to_rerank_response(ranking, ScoreScale.LATE_INTERACTION, {"rerank": 3, "total": 4})

    assert [(each.index, each.score) for each in response.passages] == ranking
    assert response.score_scale == retrieved_chunk_pb2.SCORE_SCALE_LATE_INTERACTION
    assert response.timings.total_us == 4
    assert [each.stage for each in response.timings.stages] == ["rerank"]
