"""Where passages stand on their pages, as columns: four bytes for a passage without boxes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from rag_server.domain.page_boxes import PageBox, flattened, unflattened

Rows = npt.NDArray[np.int64]
_ENDS = "boxes.ends"
_NUMBERS = "boxes.numbers"


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """The boxes of `n` passages, `m` in all."""

    ends: npt.NDArray[np.int32]
    """Shape `(n,)`: how many boxes the passages up to this one have together with it."""
    numbers: npt.NDArray[np.int32]
    """Shape `(m, 5)`: page, left, top, right and bottom of each (see `PageBox`)."""

    @classmethod
    def of(cls, passages: Sequence[Sequence[PageBox]]) -> Boxes:
        """Take the boxes of each passage."""
        ends = np.fromiter(accumulate(map(len, passages)), np.int32, len(passages))
        flat = [number for boxes in passages for number in flattened(boxes)]
        return cls(ends, np.array(flat, np.int32).reshape(-1, 5))

    def at(self, rows: Rows) -> Iterable[tuple[PageBox, ...]]:
        """Return the boxes of the passages at `rows`."""
        if not len(self.numbers):
            return ((),) * len(rows)
        bounds = zip(*(each.tolist() for each in self.bounds(rows)), strict=True)
        return [unflattened(self.numbers[start:end].ravel().tolist()) for start, end in bounds]

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return what `from_arrays` takes."""
        return {_ENDS: self.ends, _NUMBERS: self.numbers}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]], count: int) -> Boxes:
        """Return the column of `count` passages; files of before there were boxes have none."""
        if _ENDS not in arrays:
            return cls(np.zeros(count, np.int32), np.zeros((0, 5), np.int32))
        return cls(arrays[_ENDS], arrays[_NUMBERS])  # type: ignore[arg-type]  # as written

    def bounds(self, rows: Rows) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Return where the boxes of the passages at `rows` begin and end in `numbers`."""
        return np.where(rows > 0, self.ends[rows - 1], 0), self.ends[rows]


def concatenate_boxes(parts: Sequence[tuple[Boxes, Rows]]) -> Boxes:
    """Return the boxes at the rows of each column, one column after the other."""
    counts: list[npt.NDArray[np.int32]] = [np.zeros(0, np.int32)]
    taken: list[npt.NDArray[np.int32]] = [np.zeros((0, 5), np.int32)]
    for boxes, rows in parts:
        starts, ends = boxes.bounds(rows)
        counts.append(ends - starts)
        if len(boxes.numbers):
            bounds = zip(starts.tolist(), ends.tolist(), strict=True)
            taken += [boxes.numbers[start:end] for start, end in bounds]
    return Boxes(np.cumsum(np.concatenate(counts), dtype=np.int32), np.concatenate(taken))
