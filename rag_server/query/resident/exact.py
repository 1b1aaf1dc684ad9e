"""Exact search by inner product, and the one kernel that every score of the dense leg comes from.

However a row was found - here, by codes or by a graph - its score is computed by `inner_products`, so the
same row always has the same score, to the bit, and equal vectors tie. Ties rank by row.
"""

from __future__ import annotations

from typing import Any, Final

import faiss
import numpy as np
import numpy.typing as npt

from rag_server.backends.protocols import Embeddings
from rag_server.query.resident.threads import faiss_threads

_faiss: Any = faiss  # its stubs lack much of what it exports
Rows = npt.NDArray[np.int64]
"""Shape `(m,)`."""
Similarities = npt.NDArray[np.float32]
"""Shape `(m,)`: inner products."""
RowMask = npt.NDArray[np.bool_]
"""Shape `(n,)`: the rows that count."""
Query = npt.NDArray[np.float32]
"""Shape `(d,)`, C-contiguous."""
Found = tuple[Rows, Similarities]
"""Best first; the rows of equal scores ascending."""

GATHER_SHARE: Final = 0.25
"""Below this share of passing rows only those are read: a row on its own costs about four times as much as
one that is read in passing."""
_PRODUCT_QUERIES: Final = 4
"""From so many queries on, one matrix product for all is faster than a pass over the rows for each."""
_BLOCK_ROWS: Final = 8192
"""Rows of one product: bounds its result to 32 KiB a query."""
_SLACK: Final = np.float32(1e-5)
"""More than two ways of summing the same inner product of unit vectors differ by."""


def inner_products(vectors: Embeddings, rows: Rows, query: Query) -> Similarities:
    """Return the scores of `rows`. One thread, without the interpreter's lock.

    `vectors`: `(n, d)` float32, C-contiguous; may be mapped from a file.
    """
    scores = np.empty(len(rows), np.float32)
    if len(rows):
        _check(vectors, query)
        if rows.min() < 0 or rows.max() >= len(vectors):
            raise IndexError("a row beyond the vectors")
        kept = np.ascontiguousarray(rows, np.int64)
        with faiss_threads(1):
            _faiss.fvec_inner_products_by_idx(
                faiss.swig_ptr(scores),
                faiss.swig_ptr(query),
                faiss.swig_ptr(vectors),
                faiss.swig_ptr(kept),
                vectors.shape[1],
                1,
                len(kept),
            )
    return scores


def search(
    vectors: Embeddings,
    queries: Embeddings,
    count: int,
    *,
    mask: RowMask | None = None,
    pass_count: int | None = None,
) -> list[Found]:
    """Return for each query, `(q, d)`, the `count` best rows, or all that there are.

    `mask`: the rows that count; None: all. `pass_count`: how many these are, where the caller knows.
    """
    if not len(vectors) or not len(queries) or count < 1:
        return [_nothing() for _ in range(len(queries))]
    passing = None
    if mask is not None:
        total = int(np.count_nonzero(mask)) if pass_count is None else pass_count
        if not total:
            return [_nothing() for _ in range(len(queries))]
        if total < GATHER_SHARE * len(vectors):
            passing = np.flatnonzero(mask)
    if len(queries) >= _PRODUCT_QUERIES:
        nominated = _nominate_by_product(vectors, queries, count, mask, passing)
    elif passing is not None:
        return [best(passing, inner_products(vectors, passing, query), count) for query in queries]
    else:
        nominated = [_nominate(_all_products(vectors, query), count, mask) for query in queries]
    return [
        best(rows, inner_products(vectors, rows, query), count)
        for rows, query in zip(nominated, queries, strict=True)
    ]


def best(rows: Rows, scores: Similarities, count: int) -> Found:
    """Return the `count` best of `rows`, which ascend."""
    if len(rows) > count:
        # every row that ties with the last place, so that the lowest of them takes it
        kept = np.flatnonzero(scores >= np.partition(scores, len(rows) - count)[len(rows) - count])
        rows, scores = rows[kept], scores[kept]
    order = np.argsort(-scores, kind="stable")[:count]
    return rows[order], scores[order]


def _all_products(vectors: Embeddings, query: Query) -> Similarities:
    """Return the scores of all rows, `(n,)`, to within `_SLACK`: by one thread, unlike numpy's product.

    Two threads save little on one pass over the memory, and wait long for each other on busy cores.
    """
    _check(vectors, query)
    scores = np.empty(len(vectors), np.float32)
    with faiss_threads(1):
        _faiss.fvec_inner_products_ny(
            faiss.swig_ptr(scores),
            faiss.swig_ptr(query),
            faiss.swig_ptr(vectors),
            vectors.shape[1],
            len(vectors),
        )
    return scores


def _nominate(scores: Similarities, count: int, mask: RowMask | None) -> Rows:
    """Return the rows, ascending, that can be among the `count` best; `scores` are right to `_SLACK`."""
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    if len(scores) > count:
        cut = np.partition(scores, len(scores) - count)[len(scores) - count] - _SLACK
        kept = np.flatnonzero(scores >= cut)
    else:
        kept = np.arange(len(scores))
    return kept if mask is None else kept[mask[kept]]


def _nominate_by_product(
    vectors: Embeddings, queries: Embeddings, count: int, mask: RowMask | None, passing: Rows | None
) -> list[Rows]:
    """As `_nominate`, for each query, block by block of `vectors` or of the rows `passing`."""
    total = len(vectors) if passing is None else len(passing)
    rows: list[Rows] = [np.zeros(0, np.int64) for _ in queries]
    scores: list[Similarities] = [np.zeros(0, np.float32) for _ in queries]
    for start in range(0, total, _BLOCK_ROWS):
        end = min(start + _BLOCK_ROWS, total)
        block = vectors[start:end] if passing is None else vectors[passing[start:end]]
        block_mask = mask[start:end] if mask is not None and passing is None else None
        products = queries @ block.T
        for index, row_scores in enumerate(products):
            found = _nominate(row_scores, count, block_mask)
            named = found + start if passing is None else passing[start:end][found]
            rows[index] = np.concatenate([rows[index], named])
            scores[index] = np.concatenate([scores[index], row_scores[found]])
            kept = _nominate(scores[index], count, None)
            rows[index], scores[index] = rows[index][kept], scores[index][kept]
    return rows


def _check(vectors: Embeddings, query: Query) -> None:
    """Refuse what the kernels would read beyond the end of, or as something else."""
    if vectors.dtype != np.float32 or query.dtype != np.float32:
        raise TypeError("vectors and queries are float32")
    if not vectors.flags.c_contiguous or not query.flags.c_contiguous:
        raise ValueError("vectors and queries are C-contiguous")
    if query.shape != vectors.shape[1:]:
        raise ValueError(f"a query of {query.shape} on vectors of {vectors.shape}")


def _nothing() -> Found:
    return np.zeros(0, np.int64), np.zeros(0, np.float32)
