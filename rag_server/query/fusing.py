"""The fuse stage."""

from __future__ import annotations

from rag_server.backends.protocols import EmbeddingModel
from rag_server.domain.collection import Collection
from rag_server.query.fuse.context import FusionContext, is_language_covered
from rag_server.query.fuse.fused import Fused
from rag_server.query.fuse.registry import fuse, order
from rag_server.query.pooled import Pooled
from rag_server.query.prepare import Query
from rag_server.query.ranking import Ranking
from rag_server.query.retriever import Found


def fused_ranking(query: Query, pooled: Pooled, model: EmbeddingModel) -> tuple[Ranking, Fused]:
    """Rank the pooled candidates by the method that is asked for."""
    contexts = [
        _context(query, collection, found, model)
        for collection, found in zip(query.collections, pooled.founds, strict=True)
    ]
    fused = fuse(pooled.candidates, query.request.fusion, FusionContext.pooled(contexts))
    best_first = order(pooled.candidates, fused.scores)
    ranking = Ranking(best_first, fused.scores[best_first], fused.scale, fused.scores, fused.scale)
    return ranking, fused


def _context(query: Query, collection: Collection, found: Found, model: EmbeddingModel) -> FusionContext:
    is_covered = is_language_covered(collection.language, model.languages)
    frequencies, row_count = found.document_frequencies, found.chunk_count
    if not frequencies or row_count is None:
        return FusionContext(is_covered)
    terms = query.lexical[collection.language].terms
    return FusionContext.of_terms(terms, frequencies, row_count, is_language_covered=is_covered)
