"""Embeds the queries of a call together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import structlog

from rag_server.backends.protocols import Embedder, Embeddings
from rag_server.errors import Unavailable
from rag_server.query.prepare import Query
from rag_server.timing import Stopwatch

_log = structlog.get_logger(__name__)

Vector = npt.NDArray[np.float32]
"""Shape `(d,)`, of unit length."""


async def embed_queries(embedder: Embedder, queries: Sequence[Query]) -> list[Vector | None]:
    """Return a vector per query; None where the leg is not wanted, or the embedder is down.

    Raises `Unavailable` when the embedder is down and a query has nothing but its vector.
    """
    vectors: list[Vector | None] = [None] * len(queries)
    wanted = [index for index, query in enumerate(queries) if query.wants_dense]
    if not wanted:
        return vectors
    watch = Stopwatch()
    with watch.stage("embed"):
        texts = [_texts(queries[index]) for index in wanted]
        try:
            embedded = await embedder.embed([text for each in texts for text in each])
        except Unavailable as error:
            if not all(queries[index].has_lexemes for index in wanted):
                raise
            _log.warning("embedder down: BM25 alone answers", reason=error.reason)
            return vectors
    row = 0
    for index, own in zip(wanted, texts, strict=True):
        vectors[index] = _mean(embedded[row : row + len(own)])
        row += len(own)
        queries[index].watch.add(watch)
    return vectors


def _texts(query: Query) -> list[str]:
    """Return what makes the vector of a query: its text, and passages that could answer it."""
    expanded = query.request.expanded
    return [query.text, *(expanded.passages if expanded else ())]


def _mean(vectors: Embeddings) -> Vector:
    """Return the mean of unit vectors, `(n, d)`, as a unit vector; the first one where they cancel out."""
    own: Vector = vectors[0]
    if len(vectors) == 1:
        return own
    mean = vectors.mean(axis=0)
    length = float(np.linalg.norm(mean))
    return own if length == 0 else (mean / length).astype(np.float32)
