"""Chunks and retrieved chunks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rag.v1 import chunk_pb2, retrieved_chunk_pb2, timings_pb2
from rag_server.domain.document import Chunk, Span
from rag_server.domain.page_boxes import UNITS, PageBox
from rag_server.domain.retrieval import Degradation, Leg, LegSignal, ScoredChunk, ScoreScale, Timings
from rag_server.services.wire.metadata import to_value
from rag_server.timing import TOTAL

_DEGRADATIONS = {
    Degradation.LEXICAL_ONLY: retrieved_chunk_pb2.DEGRADATION_LEXICAL_ONLY,
    Degradation.DENSE_ONLY: retrieved_chunk_pb2.DEGRADATION_DENSE_ONLY,
    Degradation.NO_RERANK: retrieved_chunk_pb2.DEGRADATION_NO_RERANK,
    Degradation.RESIDENT_STALE: retrieved_chunk_pb2.DEGRADATION_RESIDENT_STALE,
    Degradation.FALLBACK_MODEL: retrieved_chunk_pb2.DEGRADATION_FALLBACK_MODEL,
    Degradation.NO_EXPANSION: retrieved_chunk_pb2.DEGRADATION_NO_EXPANSION,
    Degradation.NO_REWRITE: retrieved_chunk_pb2.DEGRADATION_NO_REWRITE,
}
_SCORE_SCALES = {
    ScoreScale.RRF: retrieved_chunk_pb2.SCORE_SCALE_RRF,
    ScoreScale.ADAPTIVE: retrieved_chunk_pb2.SCORE_SCALE_ADAPTIVE,
    ScoreScale.MIN_MAX: retrieved_chunk_pb2.SCORE_SCALE_MIN_MAX,
    ScoreScale.Z_SCORE: retrieved_chunk_pb2.SCORE_SCALE_Z_SCORE,
    ScoreScale.LATE_INTERACTION: retrieved_chunk_pb2.SCORE_SCALE_LATE_INTERACTION,
    ScoreScale.CROSS_ENCODER: retrieved_chunk_pb2.SCORE_SCALE_CROSS_ENCODER,
    ScoreScale.COSINE: retrieved_chunk_pb2.SCORE_SCALE_COSINE,
    ScoreScale.BM25: retrieved_chunk_pb2.SCORE_SCALE_BM25,
}
_FROM_SCORE_SCALES: dict[int, ScoreScale] = {proto: scale for scale, proto in _SCORE_SCALES.items()}


def to_span(span: Span) -> chunk_pb2.Span:
    """Return a span as a message."""
    return chunk_pb2.Span(start=span.start, end=span.end)


def to_boxes(boxes: Iterable[PageBox]) -> list[chunk_pb2.PageBox]:
    """Return boxes with their edges as shares of the page."""
    return [
        chunk_pb2.PageBox(
            page=box.page,
            left=box.left / UNITS,
            top=box.top / UNITS,
            right=box.right / UNITS,
            bottom=box.bottom / UNITS,
        )
        for box in boxes
    ]


def to_chunk(chunk: Chunk) -> chunk_pb2.Chunk:
    """Return a chunk as a message."""
    pages = None
    if chunk.page_start is not None and chunk.page_end is not None:
        pages = chunk_pb2.PageRange(first=chunk.page_start, last=chunk.page_end)
    return chunk_pb2.Chunk(
        id=chunk.id,
        collection_id=chunk.collection_id,
        document_id=chunk.document_id,
        document_revision=chunk.document_revision,
        ordinal=chunk.ordinal,
        text=chunk.text,
        span=to_span(chunk.span),
        heading_path=chunk.heading_path,
        token_count=chunk.token_count,
        pages=pages,
        title=chunk.title,
        source_uri=chunk.source_uri,
        media_type=chunk.media_type,
        metadata={name: to_value(value) for name, value in chunk.metadata.items()} or None,
        boxes=to_boxes(chunk.boxes) or None,
    )


def to_retrieved(results: Iterable[ScoredChunk]) -> list[retrieved_chunk_pb2.RetrievedChunk]:
    """Return results as messages, ranked in their order."""
    return [
        retrieved_chunk_pb2.RetrievedChunk(
            chunk=to_chunk(result.chunk),
            rank=rank,
            score=result.score,
            signals=retrieved_chunk_pb2.Signals(
                dense=to_leg_signal(result.signals.get(Leg.DENSE)),
                lexical=to_leg_signal(result.signals.get(Leg.LEXICAL)),
                fused_score=result.fused_score,
                rerank=to_rerank_signal(result.rerank),
            ),
            context_before=map(to_chunk, result.context_before),
            context_after=map(to_chunk, result.context_after),
        )
        for rank, result in enumerate(results, start=1)
    ]


def to_leg_signal(signal: LegSignal | None) -> retrieved_chunk_pb2.LegSignal | None:
    """Return what a leg made of a chunk as a message; None: it has no score for it."""
    return None if signal is None else retrieved_chunk_pb2.LegSignal(rank=signal.rank, score=signal.score)


def to_rerank_signal(signal: LegSignal | None) -> retrieved_chunk_pb2.RerankSignal | None:
    """Return what the reranker made of a chunk as a message; None: it has not seen it."""
    if signal is None:
        return None
    rank = signal.rank or 0  # never None: a reranker ranks all that it scores
    return retrieved_chunk_pb2.RerankSignal(rank=rank, score=signal.score)


def to_degradations(degradations: Iterable[Degradation]) -> list[retrieved_chunk_pb2.Degradation.ValueType]:
    """Return degradations as the contract names them."""
    return [_DEGRADATIONS[degradation] for degradation in degradations]


def to_score_scale(scale: ScoreScale) -> retrieved_chunk_pb2.ScoreScale.ValueType:
    """Return a scale as the contract names it."""
    return _SCORE_SCALES[scale]


def from_score_scale(scale: int) -> ScoreScale:
    """Return the scale that a caller names; an unspecified one was refused before."""
    return _FROM_SCORE_SCALES[scale]


def to_revisions(revisions: Mapping[str, int]) -> list[retrieved_chunk_pb2.CollectionRevision]:
    """Return the searched revisions in their order."""
    return [
        retrieved_chunk_pb2.CollectionRevision(collection_id=collection_id, revision=revision)
        for collection_id, revision in revisions.items()
    ]


def to_timings(timings_us: Timings) -> timings_pb2.Timings:
    """Return timings as a message; `total` stands apart from the stages."""
    return timings_pb2.Timings(
        total_us=timings_us[TOTAL],
        stages=[
            timings_pb2.StageTiming(stage=stage, duration_us=duration_us)
            for stage, duration_us in timings_us.items()
            if stage != TOTAL
        ],
    )
