"""Shows why results are what they are: what each collection and leg contributed, where chunks went."""

from __future__ import annotations

from rag.v1.explanation_pb2 import ChunkTrace, CollectionExplanation, Explanation, Outcome
from rag.v1.retrieved_chunk_pb2 import LegSignal, RerankSignal
from rag.v1.retriever_pb2 import DenseMethod, RetrievalEngine
from ragctl.output import Output, enum_name, one_line

OUTCOMES: dict[Outcome.ValueType, str] = {
    Outcome.OUTCOME_RETURNED: "is a result",
    Outcome.OUTCOME_ABSENT: "is in no collection that was searched",
    Outcome.OUTCOME_FILTERED: "kept out by the filter, a phrase or an exclusion",
    Outcome.OUTCOME_NOT_A_CANDIDATE: "no candidate of either leg",
    Outcome.OUTCOME_BELOW_RERANK: "below the candidates that were reranked",
    Outcome.OUTCOME_BELOW_THRESHOLD: "below the threshold",
    Outcome.OUTCOME_NEAR_DUPLICATE: "a near duplicate",
    Outcome.OUTCOME_GROUPED_OUT: "its document has better ones",
    Outcome.OUTCOME_BELOW_TOP_K: "below the last result",
}
NO_SIGNAL = "-"


def leg(signal: LegSignal) -> str:
    """Return `rank: score`; without a rank where the leg did not return the chunk as a candidate."""
    rank = str(signal.rank) if signal.HasField("rank") else "not ranked"
    return f"{rank}: {signal.score:.3f}"


def reranked(signal: RerankSignal) -> str:
    """Return `rank: score`."""
    return f"{signal.rank}: {signal.score:.4f}"


def show_explanation(output: Output, explanation: Explanation) -> None:
    """Write an explanation for people."""
    output.line()
    output.table(
        ("=collection", "engine", ">passages", ">passing", "vectors", "lexemes"),
        map(_collection_row, explanation.collections),
    )
    output.line(
        f"candidates: dense {explanation.dense_candidate_count} (weight {explanation.dense_weight:.2f}), "
        f"lexical {explanation.lexical_candidate_count} (weight {explanation.lexical_weight:.2f})"
    )
    if explanation.traces:
        output.line()
        output.table(
            ("=chunk", "outcome", ">dense", ">lexical", ">fused", ">rerank"),
            map(_trace_row, explanation.traces),
        )


def _collection_row(each: CollectionExplanation) -> tuple[str, ...]:
    return (
        each.collection_id,
        enum_name(RetrievalEngine, each.engine),
        str(each.chunk_count) if each.HasField("chunk_count") else "?",
        str(each.passing_count) if each.HasField("passing_count") else "?",
        enum_name(DenseMethod, each.dense_method) if each.HasField("dense_method") else "not searched",
        one_line(" ".join(each.lexemes)) or "(none)",
    )


def _trace_row(trace: ChunkTrace) -> tuple[str, ...]:
    outcome = OUTCOMES.get(trace.outcome) or enum_name(Outcome, trace.outcome)
    fused = f"{trace.fused_score:.5f}" if trace.HasField("fused_score") else NO_SIGNAL
    if trace.HasField("fused_rank"):
        fused = f"{trace.fused_rank}: {fused}"
    return (
        trace.chunk_id,
        f"{outcome} of {trace.duplicate_of}" if trace.duplicate_of else outcome,
        leg(trace.dense) if trace.HasField("dense") else NO_SIGNAL,
        leg(trace.lexical) if trace.HasField("lexical") else NO_SIGNAL,
        fused,
        reranked(trace.rerank) if trace.HasField("rerank") else NO_SIGNAL,
    )
