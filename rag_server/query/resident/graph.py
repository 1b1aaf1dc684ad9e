"""`Graph`: approximate search in a hierarchical navigable small world graph, for the largest segments.

Source: Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using hierarchical
navigable small world graphs", PAMI 2020; FAISS' implementation, by inner product on unit vectors.

The index holds the vectors itself; `Graph.vectors` is a view of them, so that they exist once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np

from rag_server.backends.protocols import Embeddings
from rag_server.query.resident.exact import Found, Query, RowMask, best, inner_products
from rag_server.query.resident.index_file import CorruptIndex, read_index, write_index
from rag_server.query.resident.threads import faiss_threads

_faiss: Any = faiss  # its stubs lack much of what it exports
LINKS: Final = 32
"""M of the paper: neighbours of a row, twice as many on the lowest layer."""
BUILD_BREADTH: Final = 100
"""efConstruction."""
SEARCH_BREADTH: Final = 400
"""ef of a search, at least: the rows that it keeps in view. At 200 000 rows 120 find 0.96 of the ten best,
300 find 0.976; what it takes to find as much as `shortlist.py` decides from where on a graph pays."""
LEAST_PASS_RATE: Final = 0.5
"""Below it a search is not tried: the nearest rows that pass are then found sooner in another way."""
_SLICE_ROWS: Final = 1024
"""Rows added between two looks at `should_stop`: about a second."""


class Graph:
    """The graph over `n` rows, and their vectors. Never changes; any number of threads may search at once."""

    def __init__(self, index: Any) -> None:
        """Use `build` or `open`."""
        self._index = index
        self.vectors: Embeddings = np.asarray(_StorageView(index))
        """Shape `(n, d)`, read-only; keeps the index alive."""

    @classmethod
    def build(
        cls, vectors: Embeddings, *, should_stop: Callable[[], bool] = lambda: False, threads: int = 1
    ) -> Graph | None:
        """Return the graph of `vectors`, `(n, d)` float32 unit rows; None: it was stopped.

        Blocks: 100 000 rows of 384 dimensions take 34 s of one core, 200 000 about 100 s. The same vectors
        make the same graph on one thread; on several it differs a little from time to time.
        """
        index = faiss.IndexHNSWFlat(vectors.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = BUILD_BREADTH
        with faiss_threads(threads):
            for start in range(0, len(vectors), _SLICE_ROWS):
                if should_stop():
                    return None
                index.add(np.ascontiguousarray(vectors[start : start + _SLICE_ROWS]))
        return cls(index)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def nbytes(self) -> int:
        """Bytes in memory or mapped: vectors, links and levels."""
        links = int(self._index.hnsw.neighbors.size())
        return int(self.vectors.nbytes) + 4 * links + len(self) * (8 + 4)

    def search(
        self, query: Query, count: int, *, mask: RowMask | None = None, pass_count: int | None = None
    ) -> Found | None:
        """Return the `count` best rows that pass, best first, with exact scores.

        Masked rows are left out of the nearest ones *after* the search, which takes in so many more.
        None: too few of the nearest pass; where the rest lie the graph cannot tell. One thread.
        """
        total = len(self) if pass_count is None else pass_count
        wanted = min(count, total)
        if wanted < 1:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        taken = breadth(len(self), count, total) if mask is not None else count
        parameters = _faiss.SearchParametersHNSW()
        parameters.efSearch = breadth(len(self), count, total)
        with faiss_threads(1):
            _, found = self._index.search(query[np.newaxis], min(taken, len(self)), params=parameters)
        rows = np.sort(found[0][found[0] >= 0])
        if mask is not None:
            rows = rows[mask[rows]]
        if len(rows) < wanted:
            return None
        return best(rows, inner_products(self.vectors, rows, query), count)

    def write(self, path: Path) -> None:
        """Write graph and vectors to a file. Raises `OSError`."""
        write_index(self._index, path)

    @classmethod
    def open(cls, path: Path) -> Graph:
        """Map what `write` wrote: vectors and links stay in the file, which must not change while it is used.

        Raises:
            CorruptIndex: The file is something else, or was altered.
            OSError: It cannot be read.
        """
        index = read_index(path, is_mapped=True)
        if not isinstance(index, faiss.IndexHNSWFlat) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise CorruptIndex(f"{path.name}: no graph")
        return cls(index)


def breadth(rows: int, count: int, pass_count: int) -> int:
    """Return ef of a search for `count` of `pass_count` rows among `rows`.

    Where some are masked, a fifth more than would do if they lay anywhere.
    """
    if pass_count < rows:
        count = math.ceil(1.2 * count * rows / max(pass_count, 1)) + 16
    return max(SEARCH_BREADTH, count)


class _StorageView:
    """The vectors within an index, for numpy, which keeps this object as long as any view of them."""

    def __init__(self, index: Any) -> None:
        self._index = index
        storage = _faiss.downcast_index(index.storage)
        shape = (int(index.ntotal), int(index.d))
        address = int(storage.get_xb()) if shape[0] else 0
        self.__array_interface__ = {
            "shape": shape,
            "typestr": np.dtype(np.float32).str,
            "data": (address, True),
            "version": 3,
        }
