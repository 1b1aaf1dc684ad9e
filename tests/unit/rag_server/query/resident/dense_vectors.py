"""Unit vectors that lie as those of texts do: around some centres, and between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def unit(vectors: npt.NDArray[np.floating[Any]]) -> Floats:
    return np.ascontiguousarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def texts_like(rows: int, dimension: int = 96, *, seed: int = 0) -> Floats:
    """Return `(rows, dimension)` vectors; those of any two seeds have the same centres."""
    centres = unit(np.random.default_rng(99).standard_normal((40, dimension)))
    chance = np.random.default_rng(seed)
    near, far = chance.integers(len(centres), size=(2, rows))
    share = chance.uniform(0, 0.5, (rows, 1))
    noise = chance.standard_normal((rows, dimension)) / np.sqrt(dimension)
    return unit((1 - share) * centres[near] + share * centres[far] + 0.7 * noise)


def ranking(vectors: Floats, query: Floats, mask: npt.NDArray[np.bool_] | None = None) -> list[int]:
    """Return the passing rows, best first, by the plainest means."""
    scores = vectors.astype(np.float64) @ query.astype(np.float64)
    rows = np.arange(len(vectors)) if mask is None else np.flatnonzero(mask)
    ranked: list[int] = rows[np.lexsort((rows, -scores[rows]))].tolist()
    return ranked


def recall(found: npt.NDArray[np.int64], truth: list[int]) -> float:
    return len(set(found.tolist()) & set(truth)) / len(truth)
