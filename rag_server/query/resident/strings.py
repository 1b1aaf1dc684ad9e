"""A column of texts in one run of bytes: little overhead per text, and a file can be mapped for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Strings:
    """`n` texts in UTF-8, one after the other."""

    offsets: npt.NDArray[np.int64]
    """Shape `(n + 1,)`: text `i` is `data[offsets[i]:offsets[i + 1]]`."""
    data: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Strings:
        """Encode `texts`."""
        encoded = [text.encode() for text in texts]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(each) for each in encoded], out=offsets[1:])
        return cls(offsets, np.frombuffer(b"".join(encoded), np.uint8))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        return self.data[self.offsets[index] : self.offsets[index + 1]].tobytes().decode()

    def at(self, rows: npt.NDArray[np.integer]) -> list[str]:
        """Return the texts at `rows`."""
        bounds = zip(self.offsets[rows].tolist(), self.offsets[rows + 1].tolist(), strict=True)
        return [self.data[start:end].tobytes().decode() for start, end in bounds]

    def to_list(self) -> list[str]:
        """Return all texts."""
        whole = self.data.tobytes()
        bounds = self.offsets.tolist()
        return [whole[start:end].decode() for start, end in pairwise(bounds)]

    @property
    def nbytes(self) -> int:
        """Bytes that the column holds."""
        return self.offsets.nbytes + self.data.nbytes

    def arrays(self, name: str) -> dict[str, npt.NDArray[np.generic]]:
        """Return what `from_arrays` takes, each key beginning with `name`."""
        return {f"{name}.offsets": self.offsets, f"{name}.data": self.data}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]], name: str) -> Strings:
        """Return the column of this name."""
        return cls(arrays[f"{name}.offsets"], arrays[f"{name}.data"])  # type: ignore[arg-type]  # as written

    def take(self, rows: npt.NDArray[np.int64]) -> Strings:
        """Return the texts at `rows`, in that order. O(bytes taken)."""
        return concatenate_strings([(self, rows)])


def concatenate_strings(parts: Sequence[tuple[Strings, npt.NDArray[np.int64]]]) -> Strings:
    """Return the texts at the rows of each column, one column after the other. O(bytes taken)."""
    pieces: list[memoryview] = []
    lengths: list[npt.NDArray[np.int64]] = []
    for strings, rows in parts:
        starts, ends = strings.offsets[rows], strings.offsets[rows + 1]
        lengths.append(ends - starts)
        data = memoryview(strings.data)  # type: ignore[arg-type]  # an array is a buffer
        pieces += [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    offsets = np.zeros(len(pieces) + 1, np.int64)
    if lengths:
        np.cumsum(np.concatenate(lengths), out=offsets[1:])
    return Strings(offsets, np.frombuffer(b"".join(pieces), np.uint8))
