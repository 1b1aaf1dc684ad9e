"""Embeds the queries of a call together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import structlog

from rag_server.backends.protocols import Embedder
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
        try:
            embedded = await embedder.embed([queries[index].text for index in wanted])
        except Unavailable as error:
            if not all(queries[index].has_lexemes for index in wanted):
                raise
            _log.warning("embedder down: BM25 alone answers", reason=error.reason)
            return vectors
    for row, index in enumerate(wanted):
        vectors[index] = embedded[row]
        queries[index].watch.add(watch)
    return vectors
