"""Options of retrieval: how passages are found, ranked and brought."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rag.v1 import fusion_pb2, options_pb2, rerank_pb2
from rag_server.domain.fusion import AdaptiveFusion, Fusion, MinMaxFusion, RrfFusion, ZScoreFusion
from rag_server.domain.retrieval import (
    CrossEncoder,
    Grouping,
    LateInteraction,
    Mmr,
    QuerySyntax,
    RerankMethod,
    RetrievalRequest,
    ScoreThreshold,
)
from rag_server.services.wire.chunk import from_score_scale
from rag_server.services.wire.filter import from_filter
from rag_server.validation.defaults import value_or_default

_SYNTAXES = {
    options_pb2.QUERY_SYNTAX_OPERATORS: QuerySyntax.OPERATORS,
    options_pb2.QUERY_SYNTAX_PLAIN: QuerySyntax.PLAIN,
}


def from_options(
    collection_ids: Sequence[str],
    query: str,
    options: options_pb2.RetrievalOptions,
    *,
    default_syntax: QuerySyntax,
) -> RetrievalRequest:
    """Return a validated request with its defaults filled in; that of the syntax is the method's own."""
    return RetrievalRequest(
        collection_ids=tuple(collection_ids),
        query=query,
        top_k=value_or_default(options, "top_k"),
        filter=from_filter(options.filter) if options.HasField("filter") else None,
        fusion=from_fusion(options.fusion),
        candidate_count=value_or_default(options, "candidate_count"),
        rerank=from_rerank(options.rerank) if options.HasField("rerank") else None,
        diversity=_from_diversity(options.diversity) if options.HasField("diversity") else None,
        duplicate_similarity=options.duplicate_similarity
        if options.HasField("duplicate_similarity")
        else None,
        grouping=Grouping(value_or_default(options.grouping, "chunks_per_document"))
        if options.HasField("grouping")
        else None,
        threshold=_from_threshold(options.threshold) if options.HasField("threshold") else None,
        context_chunks=value_or_default(options, "context_chunks"),
        syntax=_SYNTAXES.get(options.query_syntax, default_syntax),
        min_revisions=tuple((each.collection_id, each.revision) for each in options.min_revisions),
        is_explained=options.HasField("explain"),
        traced_chunk_ids=tuple(options.explain.chunk_ids),
    )


def from_fusion(message: fusion_pb2.Fusion) -> Fusion:
    """Return the method with its defaults filled in; none chosen means the default one, adaptive."""
    match message.WhichOneof("method"):
        case "rrf":
            return RrfFusion(k=value_or_default(message.rrf, "k"), **_weights(message.rrf))
        case "min_max":
            return MinMaxFusion(**_weights(message.min_max))
        case "z_score":
            return ZScoreFusion(**_weights(message.z_score))
        case _:
            return AdaptiveFusion(**_weights(message.adaptive))


def from_rerank(message: rerank_pb2.Rerank) -> RerankMethod:
    """Return the method with its defaults filled in; none chosen means late interaction."""
    if message.WhichOneof("method") == "cross_encoder":
        return CrossEncoder(value_or_default(message.cross_encoder, "candidate_count"))
    return LateInteraction(value_or_default(message.late_interaction, "candidate_count"))


def _weights(message: Any) -> dict[str, float]:
    return {name: value_or_default(message, name) for name in ("dense_weight", "lexical_weight")}


def _from_diversity(message: options_pb2.Diversity) -> Mmr:
    return Mmr(value_or_default(message.mmr, "relevance_weight"))


def _from_threshold(message: options_pb2.ScoreThreshold) -> ScoreThreshold:
    return ScoreThreshold(from_score_scale(message.scale), message.min_score)
