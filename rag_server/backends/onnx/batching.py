"""Texts to windows, and window vectors back to one vector per text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rag_server.backends.protocols import Embeddings

Window = list[int]
"""Token ids of one input of the model, special tokens included."""


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """The windows of a call's texts and which text each belongs to."""

    windows: tuple[Window, ...]
    counts: tuple[int, ...]
    """Windows of each text, at least 1."""
    special_token_count: int

    def merge(self, vectors: Sequence[npt.NDArray[np.float32]]) -> Embeddings:
        """Return one unit vector per text, `(texts, d)`, from a unit vector `(d,)` per window.

        A text of several windows gets their mean weighted by content tokens (a window without any counts
        as one of one token), scaled to length 1.
        """
        stacked = np.stack(vectors)
        if len(self.windows) == len(self.counts):
            return stacked
        weights = [max(len(window) - self.special_token_count, 1) for window in self.windows]
        owners = np.repeat(np.arange(len(self.counts)), self.counts)
        sums = np.zeros((len(self.counts), stacked.shape[1]), np.float32)
        np.add.at(sums, owners, stacked * np.asarray(weights, np.float32)[:, None])
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        return np.asarray(sums / norms, np.float32)


def plan_windows(texts: Sequence[Sequence[Window]], *, special_token_count: int) -> WindowPlan:
    """Flatten the windows of each text, in order."""
    windows = tuple(window for text in texts for window in text)
    return WindowPlan(windows, tuple(map(len, texts)), special_token_count)
