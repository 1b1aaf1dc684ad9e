"""The server's default retrieval over paragraphs: what `benchmarks.extractive` asks for sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from rag_server.backends.protocols import EmbeddingModel, Embeddings
from rag_server.domain.candidates import Candidates, LegColumns, Positions, Ranks, Scores
from rag_server.domain.document import Chunk, DocumentHead
from rag_server.domain.fusion import AdaptiveFusion
from rag_server.domain.lexical import Bm25, LexicalQuery
from rag_server.domain.retrieval import Leg, LegSignal, ScoredChunk
from rag_server.domain.stored import StoredChunks
from rag_server.query.fuse.context import FusionContext, is_language_covered
from rag_server.query.fuse.registry import fuse, order
from rag_server.query.resident.builder import SegmentBuilder
from rag_server.query.resident.masks import MaskCache
from rag_server.query.resident.search import search
from rag_server.query.resident.state import State
from rag_server.query.retriever import Probe
from rag_server.text.analyzer import Analyzer

TOP_K = 10
CANDIDATES = 50
_NAME = "paragraphs"


class ServerIndex:
    """All paragraphs in the resident engine, fused by the server's default method."""

    def __init__(
        self,
        chunks: Sequence[Chunk],
        articles: Sequence[int],
        vectors: Embeddings,
        analyzer: Analyzer,
        model: EmbeddingModel,
    ) -> None:
        self._chunks = chunks
        self._articles = np.array(articles)
        self._analyzer = analyzer
        self._is_covered = is_language_covered(analyzer.language, model.languages)
        state = State.empty()
        head = DocumentHead(_NAME, 1, "", "", "text/plain", {}, len(chunks))
        # of one document: the engine sorts documents by id, and positions are to be the caller's
        rows = [
            replace(chunk, id=str(row), document_id=_NAME, document_revision=1, ordinal=row)
            for row, chunk in enumerate(chunks)
        ]
        builder = SegmentBuilder([head], vectors.shape[1], state.vocabulary)
        builder.add(StoredChunks(rows, vectors, [analyzer.analyze(chunk.text) for chunk in chunks]))
        self._state = state.with_segment(builder.build())
        self._masks = MaskCache(0)

    def retrieve(
        self, question: str, vector: npt.NDArray[np.float32], *, without: int | None
    ) -> list[ScoredChunk]:
        """Return the sources for `question`, from all articles but `without`."""
        terms = tuple(self._analyzer.analyze(question))
        probe = Probe(vector, LexicalQuery(terms), None, len(self._chunks))
        (hits,) = search(self._state, [probe], Bm25(), self._masks)
        context = FusionContext.of_terms(
            terms,
            hits.document_frequencies,
            self._state.alive_count,
            is_language_covered=self._is_covered,
        )
        candidates = self._first(hits.candidates, without)
        scores = fuse(candidates, AdaptiveFusion(), context).scores
        return [
            ScoredChunk(self._chunks[candidates.positions[i]], float(scores[i]), _signals(candidates, int(i)))
            for i in order(candidates, scores)[:TOP_K]
        ]

    def _first(self, found: Candidates, without: int | None) -> Candidates:
        """Return what each leg returns when it is asked for `CANDIDATES`, from all articles but one."""
        present = np.flatnonzero(self._articles[found.positions] != (-1 if without is None else without))
        legs = [_ranked(leg, present) for leg in (found.dense, found.lexical) if leg is not None]
        kept = np.flatnonzero(np.logical_or.reduce([ranks > 0 for _, ranks in legs]))
        dense, lexical = (LegColumns(scores[kept], ranks[kept]) for scores, ranks in legs)
        positions: Positions = found.positions[present][kept]
        return Candidates(positions, dense, lexical)


def _ranked(leg: LegColumns, present: Positions) -> tuple[Scores, Ranks]:
    """Return the scores of those present and their ranks among themselves, 0 past `CANDIDATES`."""
    ranked = np.where(leg.ranks[present] > 0, leg.ranks[present], np.iinfo(np.int32).max)
    places = np.argsort(np.argsort(ranked, kind="stable"), kind="stable") + 1
    is_candidate = (leg.ranks[present] > 0) & (places <= CANDIDATES)
    return leg.scores[present], np.where(is_candidate, places, 0).astype(np.int32)


def _signals(candidates: Candidates, index: int) -> dict[Leg, LegSignal]:
    legs = {Leg.DENSE: candidates.dense, Leg.LEXICAL: candidates.lexical}
    return {
        name: LegSignal(int(leg.ranks[index]) or None, float(leg.scores[index]))
        for name, leg in legs.items()
        if leg is not None and not np.isnan(leg.scores[index])
    }
