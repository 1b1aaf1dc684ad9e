"""The rerank stage: scores the best candidates again, if the caller's time allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import structlog

from rag_server.domain.retrieval import Drop, LegSignal, RerankMethod
from rag_server.errors import FailedPrecondition, ResourceExhausted, Unavailable
from rag_server.query.pooled import Pooled
from rag_server.query.prepare import Query
from rag_server.query.ranking import Ranking
from rag_server.query.rerank.reranker import Reranker

_log = structlog.get_logger(__name__)
_MARGIN: Final = 1.5
"""Time that must be left per time that reranking is expected to take."""


class Reranking:
    """Holds the rerankers by the method that asks for them."""

    def __init__(self, rerankers: Mapping[type[RerankMethod], Reranker]) -> None:
        self._rerankers = rerankers

    def reranker_for(self, method: RerankMethod) -> Reranker:
        """Return what carries out `method`. Raises `FailedPrecondition` (`RERANKER_NOT_CONFIGURED`)."""
        reranker = self._rerankers.get(type(method))
        if reranker is None:
            raise FailedPrecondition(
                "RERANKER_NOT_CONFIGURED",
                "the server has no cross-encoder: RAG_RETRIEVAL__CROSS_ENCODER names one; "
                "`late_interaction` needs none",
            )
        return reranker

    def check(self, method: RerankMethod | None) -> None:
        """Raise `FailedPrecondition` (`RERANKER_NOT_CONFIGURED`) when nothing carries out `method`."""
        if method is not None:
            self.reranker_for(method)

    async def rerank(self, query: Query, pooled: Pooled, ranking: Ranking) -> bool:
        """Rank the best candidates by the reranker; return False when they are left as they were.

        That is so when the time that is left would not do, and when the reranker is down.
        """
        method = query.request.rerank
        if method is None:
            return True
        reranker = self.reranker_for(method)
        if not len(ranking.indices):
            ranking.scale = reranker.scale
            return True
        count = max(method.candidate_count, query.request.top_k)
        head = ranking.indices[:count]
        texts = [chunk.text for chunk in await pooled.chunks(head)]
        left_s = query.time_left_s()
        if left_s is not None and left_s < _MARGIN * reranker.estimate_s(query.text, texts):
            return False
        try:
            scores = await reranker.score(query.text, texts)
        except (Unavailable, ResourceExhausted) as error:
            _log.warning("reranker down: fused order kept", reason=error.reason)
            return False
        # equal scores keep the fused order
        order = np.argsort(-scores, kind="stable")
        ranking.keep(slice(0, count), Drop.BELOW_RERANK)
        ranking.keep(order, Drop.BELOW_RERANK)
        ranking.scores = scores[order].astype(np.float64)
        ranking.scale = reranker.scale
        ranking.reranked = {
            int(index): LegSignal(rank, float(score))
            for rank, (index, score) in enumerate(zip(ranking.indices, ranking.scores, strict=True), start=1)
        }
        return True
