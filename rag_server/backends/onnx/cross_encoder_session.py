"""The session of a cross-encoder: pairs to scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rag_server.backends.onnx.pair_tokenizer import Pair
from rag_server.backends.onnx.session import OnnxSession, Stop, pad

SCORE_OUTPUT = "score"
"""Of the exported graph: `(n,)`."""


class CrossEncoderSession:
    """Run from one thread at a time."""

    def __init__(self, graph: Path, *, thread_count: int, pad_token_id: int) -> None:
        """Load `graph` for `thread_count` threads. Raises `CorruptArtifact`."""
        self._session = OnnxSession(graph, thread_count=thread_count)
        self._pad_token_id = pad_token_id

    def run(self, pairs: Sequence[Pair], stop: Stop, *, is_shared: bool = False) -> npt.NDArray[np.float32]:
        """Return `(len(pairs),)`: scores in 0..1. Takes and raises as `OnnxSession.compute`."""
        inputs = {
            "input_ids": pad([pair.ids for pair in pairs], self._pad_token_id),
            "attention_mask": pad([[1] * len(pair) for pair in pairs], 0),
            "token_type_ids": pad([pair.segments for pair in pairs], 0),
        }
        return self._session.compute(SCORE_OUTPUT, inputs, stop, is_shared=is_shared)
