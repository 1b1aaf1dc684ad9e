"""Passages of the caller's own, in their new order."""

from __future__ import annotations

from collections.abc import Iterable

from rag.v1 import retrieve_service_pb2 as pb
from rag_server.domain.retrieval import ScoreScale, Timings
from rag_server.services.wire.chunk import to_score_scale, to_timings


def to_rerank_response(
    ranking: Iterable[tuple[int, float]], scale: ScoreScale, timings_us: Timings
) -> pb.RerankResponse:
    """Return (0-based index, score) pairs, best first, as a message."""
    return pb.RerankResponse(
        passages=[pb.RerankedPassage(index=index, score=score) for index, score in ranking],
        score_scale=to_score_scale(scale),
        timings=to_timings(timings_us),
    )
