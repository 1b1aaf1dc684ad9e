"""Texts to windows to batches, and window vectors back to one vector per text.

A batch is padded to its longest window, so windows are sorted by length before they are packed:
the padding of a batch is then at most the difference between neighbours.
"""

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
    owners: npt.NDArray[np.int64]
    """Shape `(windows,)`: index of the text, ascending."""
    weights: npt.NDArray[np.float32]
    """Shape `(windows,)`: content tokens, at least 1."""
    text_count: int

    @property
    def token_count(self) -> int:
        """Tokens of all windows, without padding."""
        return sum(map(len, self.windows))


def plan_windows(texts: Sequence[Sequence[Window]], *, special_token_count: int) -> WindowPlan:
    """Flatten the windows of each text, in order."""
    windows = tuple(window for text in texts for window in text)
    owners = [index for index, text in enumerate(texts) for _ in text]
    weights = [max(len(window) - special_token_count, 1) for window in windows]
    return WindowPlan(windows, np.asarray(owners, np.int64), np.asarray(weights, np.float32), len(texts))


def pack(windows: Sequence[Window], *, batch_tokens: int) -> list[list[int]]:
    """Return the indices of `windows` in batches, longest windows first.

    A batch holds at most `batch_tokens` tokens, padding included, or a single longer window.
    """
    batches: list[list[int]] = []
    capacity = 0
    # reverse=True keeps equal lengths in their order, so the same texts always make the same batches
    for index in sorted(range(len(windows)), key=lambda index: len(windows[index]), reverse=True):
        if not batches or len(batches[-1]) == capacity:
            batches.append([])
            capacity = max(1, batch_tokens // len(windows[index]))
        batches[-1].append(index)
    return batches


def merge(plan: WindowPlan, vectors: Embeddings) -> Embeddings:
    """Return one unit vector per text from unit vectors per window, `(windows, d)` -> `(texts, d)`.

    A text of several windows gets their mean weighted by tokens, scaled to length 1.
    """
    if len(plan.windows) == plan.text_count:
        return vectors
    sums = np.zeros((plan.text_count, vectors.shape[1]), np.float32)
    np.add.at(sums, plan.owners, vectors * plan.weights[:, None])
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / norms, np.float32)
