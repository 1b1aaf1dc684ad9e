"""One ONNX Runtime session: options, the padded batch, and a way to stop a run.

Options, with what they were measured to do for all-MiniLM-L6-v2 on 2 cores:

- Weights in a file beside the graph: ONNX Runtime maps it, so pages that no run touches (most of the
  word embeddings) never become resident. Loading costs 50 MiB and 0.1 s instead of 120 MiB and 0.3 s.
- Threads spin for 20 us within a run and never between runs. A query takes 2.7 ms, as with unlimited
  spinning, instead of 3.2 ms without any; beside two busy processes a batch runs at 16.2 passages/s, as
  without spinning (15.3), where unlimited spinning falls to 10.5. An idle server burns no core.
- The arena stays on: without it throughput falls by 15 %. What it grows to is bounded by the batch
  size: 25 MiB at 512 tokens per batch, 45 MiB at 1 024 and 290 MiB at 8 192, for nearly the same
  passages per second (27.7, 28.6 and 26.5). Shrinking it after each run cost more than it saved.
- Denormals count as zero: they would cost a factor of ten where activations underflow.
- A run that serves several callers is cut into shares, one per core, each computed by one thread
  (`shares`): these callers' other work is busy on the same cores, and threads that share each operator
  wait for whichever of them is off its core. Beside one busy process a passage takes 6.1 ms in shares
  and 8.3 ms without; alone, shares of a few passages take 5 % longer, so other runs are not cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from rag_server.backends.onnx.artifact import CorruptArtifact
from rag_server.backends.onnx.batching import Window
from rag_server.backends.onnx.shares import Shares
from rag_server.backends.protocols import Embeddings

VECTOR_OUTPUT = "embedding"
"""Of the exported graph: `(n, d)`, a unit vector per window."""
TOKEN_OUTPUT = "last_hidden_state"  # noqa: S105 (no secret)
"""Of the exported graph: `(n, length, d)`, what is pooled; padding included, of any length."""

TokenEmbeddings = npt.NDArray[np.float32]
"""Shape `(tokens, d)`, float32, rows of unit length."""

Ids = npt.NDArray[np.int64]

_ORT_ERRORS: tuple[type[Exception], ...] = (
    ort_errors.EPFail,
    ort_errors.EngineError,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)
_RUN_ERRORS: tuple[type[Exception], ...] = (*_ORT_ERRORS, ValueError, CorruptArtifact)
"""ValueError: the graph has no such input or output. CorruptArtifact: it cannot be loaded a second time."""
_ERROR_SEVERITY = 3
_SPIN_US = "20"
_MIN_LENGTH = 1e-12


class RunFailed(Exception):
    """A run gave no usable vectors; the text is for the log."""


class RunStopped(Exception):
    """A run ended early because `Stop.set` was called."""


class Stop:
    """A switch that ends one run from another thread, within about a layer's time."""

    def __init__(self) -> None:
        self.options = onnxruntime.RunOptions()
        self.is_set = False

    def set(self) -> None:
        """End the run. Idempotent; harmless before and after it."""
        self.is_set = True
        self.options.terminate = True


class OnnxSession:
    """A loaded graph. Run from one thread at a time."""

    def __init__(self, graph: Path, *, thread_count: int) -> None:
        """Load `graph` for `thread_count` threads. Raises `CorruptArtifact`."""
        self._graph = graph
        self._session = _load(graph, thread_count)
        self._shares = Shares(thread_count)
        self._single: onnxruntime.InferenceSession | None = None
        """For one thread at a time, without threads of its own; loaded once it is needed (95 MiB)."""

    def compute(
        self, output: str, inputs: Mapping[str, Ids], stop: Stop, *, is_shared: bool = False
    ) -> npt.NDArray[np.float32]:
        """Return one output of the graph; `is_shared`: for several callers.

        Raises `RunStopped` once `stop` is set, `RunFailed` for every other failure and for values
        that are not finite.
        """
        if stop.is_set:
            raise RunStopped
        try:
            values = self._values(output, inputs, stop, is_shared=is_shared)
        except _RUN_ERRORS as error:
            if stop.is_set:
                raise RunStopped from error
            raise RunFailed(f"{type(error).__name__}: {error}") from error
        if not np.isfinite(values).all():
            raise RunFailed("the model returned values that are not finite")
        return values

    def _values(
        self, output: str, inputs: Mapping[str, Ids], stop: Stop, *, is_shared: bool
    ) -> npt.NDArray[np.float32]:
        rows = len(next(iter(inputs.values())))
        parts = self._shares.parts(rows) if is_shared else [slice(0, rows)]
        if len(parts) == 1:
            whole: npt.NDArray[np.float32] = self._session.run([output], inputs, stop.options)[0]
            return whole
        session = self._single = self._single or _load(self._graph, 1)

        def run(part: slice) -> npt.NDArray[np.float32]:
            share = {name: values[part] for name, values in inputs.items()}
            values: npt.NDArray[np.float32] = session.run([output], share, stop.options)[0]
            return values

        return np.concatenate(self._shares.map(run, parts))


def _load(graph: Path, thread_count: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERROR_SEVERITY
    options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_US)
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except _ORT_ERRORS as error:
        raise CorruptArtifact(f"graph: {error}") from error


class EmbeddingSession:
    """Token ids to unit vectors. Run from one thread at a time."""

    def __init__(self, graph: Path, *, thread_count: int, pad_token_id: int) -> None:
        """Load `graph` for `thread_count` threads. Raises `CorruptArtifact`."""
        self._session = OnnxSession(graph, thread_count=thread_count)
        self._pad_token_id = pad_token_id

    def run(self, windows: Sequence[Window], stop: Stop, *, is_shared: bool = False) -> Embeddings:
        """Return `(len(windows), d)`: a unit vector per window. Takes and raises as `OnnxSession.compute`."""
        return self._session.compute(VECTOR_OUTPUT, self._inputs(windows), stop, is_shared=is_shared)

    def run_tokens(
        self, windows: Sequence[Window], stop: Stop, *, is_shared: bool = False
    ) -> list[TokenEmbeddings]:
        """Return for each window `(len(window), d)`: a unit vector per token, special tokens included.

        Takes and raises as `OnnxSession.compute`.
        """
        hidden = self._session.compute(TOKEN_OUTPUT, self._inputs(windows), stop, is_shared=is_shared)
        tokens = []
        for window, rows in zip(windows, hidden, strict=True):
            vectors = rows[: len(window)]
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            tokens.append(vectors / np.maximum(lengths, _MIN_LENGTH))
        return tokens

    def _inputs(self, windows: Sequence[Window]) -> dict[str, Ids]:
        return {
            "input_ids": pad(windows, self._pad_token_id),
            "attention_mask": pad([[1] * len(window) for window in windows], 0),
        }


def pad(rows: Sequence[Sequence[int]], value: int) -> Ids:
    """Return `rows` as one array, `(len(rows), longest)` int64, filled up with `value` on the right."""
    padded = np.full((len(rows), max(map(len, rows))), value, np.int64)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded
