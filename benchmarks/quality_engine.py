"""The resident engine over a labelled set: what `benchmarks.quality` fuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.peers_worker import Corpus
from rag_server.domain.candidates import Candidates
from rag_server.domain.document import Chunk, DocumentHead, Span
from rag_server.domain.lexical import Bm25, LexicalQuery
from rag_server.domain.stored import StoredChunks
from rag_server.query.fuse.context import FusionContext
from rag_server.query.resident.builder import SegmentBuilder
from rag_server.query.resident.masks import MaskCache
from rag_server.query.resident.search import search
from rag_server.query.resident.state import State
from rag_server.query.retriever import Probe
from rag_server.text.analyzer import Analyzer

_NAME = "labelled"


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What an engine found for one query. Positions are indices into the corpus."""

    candidates: Candidates
    context: FusionContext


Engine = Callable[[npt.NDArray[np.float32], str, int], Answer]
"""Takes a query's vector `(d,)`, its text, and how many candidates each leg is to return."""


def resident_engine(corpus: Corpus, language: str, *, is_language_covered: bool | None) -> Engine:
    """Return the resident engine with `corpus` in memory, analysed as `language`."""
    analyzer = Analyzer.for_language(language)
    chunks = [
        Chunk(str(row), "", "", _NAME, 1, row, "", Span(0, 0), (), 0, None, None, "", "", "")
        for row in range(len(corpus.texts))
    ]
    state = State.empty()
    head = DocumentHead(_NAME, 1, "", "", "", {}, len(chunks))
    builder = SegmentBuilder([head], corpus.vectors.shape[1], state.vocabulary)
    builder.add(StoredChunks(chunks, corpus.vectors, [analyzer.analyze(text) for text in corpus.texts]))
    state = state.with_segment(builder.build())
    cache = MaskCache(0)

    def answer(vector: npt.NDArray[np.float32], query: str, count: int) -> Answer:
        terms = tuple(analyzer.analyze(query))
        (hits,) = search(state, [Probe(vector, LexicalQuery(terms), None, count)], Bm25(), cache)
        context = FusionContext.of_terms(
            terms, hits.document_frequencies, state.alive_count, is_language_covered=is_language_covered
        )
        return Answer(hits.candidates, context)

    return answer
