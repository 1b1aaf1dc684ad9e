"""Explanations of a search."""

from __future__ import annotations

from rag.v1 import explanation_pb2 as pb
from rag_server.domain.retrieval import CollectionExplanation, Drop, Explanation, Leg, Trace
from rag_server.services.wire.chunk import to_leg_signal, to_rerank_signal
from rag_server.services.wire.retriever import to_dense_method, to_engine

_OUTCOMES = {
    Drop.RETURNED: pb.OUTCOME_RETURNED,
    Drop.ABSENT: pb.OUTCOME_ABSENT,
    Drop.FILTERED: pb.OUTCOME_FILTERED,
    Drop.NOT_A_CANDIDATE: pb.OUTCOME_NOT_A_CANDIDATE,
    Drop.BELOW_RERANK: pb.OUTCOME_BELOW_RERANK,
    Drop.BELOW_THRESHOLD: pb.OUTCOME_BELOW_THRESHOLD,
    Drop.NEAR_DUPLICATE: pb.OUTCOME_NEAR_DUPLICATE,
    Drop.GROUPED_OUT: pb.OUTCOME_GROUPED_OUT,
    Drop.BELOW_TOP_K: pb.OUTCOME_BELOW_TOP_K,
}


def to_explanation(explanation: Explanation) -> pb.Explanation:
    """Return an explanation as a message."""
    return pb.Explanation(
        collections=map(_to_collection, explanation.collections),
        dense_candidate_count=explanation.dense_candidate_count,
        lexical_candidate_count=explanation.lexical_candidate_count,
        dense_weight=explanation.dense_weight,
        lexical_weight=explanation.lexical_weight,
        traces=map(_to_trace, explanation.traces),
    )


def _to_collection(collection: CollectionExplanation) -> pb.CollectionExplanation:
    return pb.CollectionExplanation(
        collection_id=collection.collection_id,
        engine=to_engine(collection.engine),
        lexemes=collection.lexemes,
        chunk_count=collection.chunk_count,
        passing_count=collection.passing_count,
        dense_method=to_dense_method(collection.dense_method),
    )


def _to_trace(trace: Trace) -> pb.ChunkTrace:
    return pb.ChunkTrace(
        chunk_id=trace.chunk_id,
        outcome=_OUTCOMES[trace.drop],
        dense=to_leg_signal(trace.signals.get(Leg.DENSE)),
        lexical=to_leg_signal(trace.signals.get(Leg.LEXICAL)),
        fused_rank=trace.fused_rank,
        fused_score=trace.fused_score,
        rerank=to_rerank_signal(trace.rerank),
        duplicate_of=trace.duplicate_of,
    )
