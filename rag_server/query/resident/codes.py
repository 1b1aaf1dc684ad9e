"""`Codes`: vectors as product quantization codes, small enough to scan all of them at each query.

Source: Jégou, Douze and Schmid, "Product quantization for nearest neighbor search", PAMI 2011; scanned from
registers as in André, Kermarrec and Le Scouarnec, "Cache locality is not enough", VLDB 2015 (FAISS calls it
fast scan). With four bits for three dimensions a row of 384 takes 64 bytes, a twenty-fourth of the vector:
200 000 rows are scanned in well under a millisecond, *whichever of them pass a filter*. That is what a graph
cannot give: the rows that pass may lie anywhere but where the graph leads. The codes only nominate; what they
nominate is scored exactly (`shortlist.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np

from rag_server.backends.protocols import Embeddings
from rag_server.query.resident.exact import Query, RowMask, Rows, Similarities
from rag_server.query.resident.index_file import CorruptIndex, read_index, write_index
from rag_server.query.resident.threads import faiss_threads

_faiss: Any = faiss  # its stubs lack much of what it exports
_BITS: Final = 4
"""What fast scan can look up in a register."""
_LARGEST_PART: Final = 3
"""Dimensions that share one code. Of the best 50 of 200 000 sentence vectors, 400 nominations hold 98.5 %
with three dimensions, 95 % with four."""
_TRAINING_ROWS: Final = 4096
"""256 for each of the 16 centroids of a part, as FAISS advises; more change nothing."""
_ITERATIONS: Final = 10
"""Of k-means; 25, FAISS' default, lower the error of a score by less than one percent."""
_SLICE_ROWS: Final = 16384
"""Rows that are coded between two looks at `should_stop`."""


class Codes:
    """The codes of `n` rows. Never changes; any number of threads may scan at once."""

    def __init__(self, index: Any) -> None:
        """Use `build` or `open`."""
        self._index = index

    @classmethod
    def build(cls, vectors: Embeddings, *, should_stop: Callable[[], bool] = lambda: False) -> Codes | None:
        """Return the codes of `vectors`, `(n, d)`; None: it was stopped. Blocks, on one core; deterministic.

        Takes about half a second and 15 us a row of 384 dimensions.
        """
        count, dimension = vectors.shape
        quantizer = faiss.IndexFlatIP(dimension)
        # a single list around the origin: FAISS takes selectors in its inverted files only
        quantizer.add(np.zeros((1, dimension), np.float32))
        index = faiss.IndexIVFPQFastScan(
            quantizer, dimension, 1, _part_count(dimension), _BITS, faiss.METRIC_INNER_PRODUCT
        )
        index.by_residual = False
        index.pq.cp.niter = _ITERATIONS
        index.pq.cp.min_points_per_centroid = 1  # no warning on standard error for small segments
        sample = np.linspace(0, count - 1, min(count, _TRAINING_ROWS)).astype(np.int64)
        with faiss_threads(1):
            index.train(np.ascontiguousarray(vectors[sample]))
            for start in range(0, count, _SLICE_ROWS):
                if should_stop():
                    return None
                index.add(np.ascontiguousarray(vectors[start : start + _SLICE_ROWS]))
        return cls(index)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def nbytes(self) -> int:
        """Bytes in memory: a code and a number for each row, and the centroids."""
        return len(self) * (int(self._index.code_size) + 8) + 4 * 16 * int(self._index.d)

    @property
    def code_bytes(self) -> int:
        """Bytes of one row's code."""
        return int(self._index.code_size)

    def nominate(self, query: Query, count: int, mask: RowMask | None = None) -> tuple[Rows, Similarities]:
        """Return the `count` rows, fewer where fewer pass, that score best by their codes, best first.

        The scores are approximate; rows that have the worst of all may be left out. One thread, without the
        interpreter's lock.
        """
        parameters = _faiss.IVFSearchParameters(nprobe=1)
        bitmap = None
        if mask is not None:
            bitmap = np.packbits(mask, bitorder="little")  # FAISS reads it in place: keep it until the end
            parameters.sel = _faiss.IDSelectorBitmap(bitmap)
        with faiss_threads(1):
            scores, rows = self._index.search(query[np.newaxis], min(count, len(self)), params=parameters)
        found = rows[0] >= 0
        del bitmap
        return rows[0][found], scores[0][found]

    def write(self, path: Path) -> None:
        """Write the codes to a file. Raises `OSError`."""
        write_index(self._index, path)

    @classmethod
    def open(cls, path: Path) -> Codes:
        """Read what `write` wrote; its codes are small: they are read, not mapped.

        Raises:
            CorruptIndex: The file is something else, or was altered.
            OSError: It cannot be read.
        """
        index = read_index(path, is_mapped=False)
        if not isinstance(index, faiss.IndexIVFPQFastScan) or index.nlist != 1:
            raise CorruptIndex(f"{path.name}: no codes")
        return cls(index)


def _part_count(dimension: int) -> int:
    """Return into how many parts a vector is cut: all of one size, which divides it."""
    return dimension // max(size for size in range(1, _LARGEST_PART + 1) if dimension % size == 0)
