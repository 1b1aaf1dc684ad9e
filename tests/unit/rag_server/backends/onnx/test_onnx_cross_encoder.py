"""`OnnxCrossEncoder` over a tiny BERT of random weights: conformance, and against sentence-transformers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from rag_server.backends.onnx import cache
from rag_server.backends.onnx.artifact import DESCRIPTION, read_artifact
from rag_server.backends.onnx.cross_encoder import OnnxCrossEncoder
from rag_server.backends.onnx.pair_tokenizer import Pair, PairTokenizer
from rag_server.backends.onnx.session import RunStopped, Stop
from rag_server.backends.onnx.source import ModelSource
from rag_server.backends.onnx.worker import CROSS_ENCODER, ModelWorker
from rag_server.domain.retrieval import ScoreScale
from rag_server.errors import Unavailable
from rag_server.testing.reranker_suite import RerankerSuite

Build = Callable[..., Path]
WAIT_S = 60
PAIRS = [
    ("how are chunks cut", "the quick brown fox"),
    ("how are chunks cut", "chunks"),
    ("how are chunks cut", "the river house " * 40),  # longer than the window
    ("the short fox " * 40, "the river house " * 40),
    ("the short fox " * 40, "warm"),
    ("", "the river"),
    ("the river", ""),
]


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the seconds that a process takes to import torch once more."""
    from rag_server.backends.onnx import cross_encoder_export

    async def export(source: ModelSource, output: Path) -> tuple[int, str]:
        arguments = ["--id", source.id, "--load", source.load_argument, "--output", str(output)]
        return await asyncio.to_thread(cross_encoder_export.main, arguments), ""

    monkeypatch.setattr(cache, "_run_exporter", export)


@pytest.fixture
async def reranker(cross_encoder: Path, in_process: None) -> AsyncIterator[OnnxCrossEncoder]:
    """Exported for the first test of the module only."""
    cache_dir = cross_encoder.parent / "cache"
    reranker = await OnnxCrossEncoder.create(str(cross_encoder), cache_dir=cache_dir, threads=1)
    yield reranker
    await reranker.close()


class TestOnnxCrossEncoder(RerankerSuite):
    """Conformance."""


@pytest.mark.parametrize(
    ("architecture", "has_segments"), [("bert", True), ("bert", False), ("distilbert", False)]
)
async def test_score_is_that_of_sentence_transformers(
    build_cross_encoder: Build, tmp_path: Path, in_process: None, architecture: str, has_segments: bool
) -> None:
    import torch
    from sentence_transformers import CrossEncoder

    folder = build_cross_encoder(architecture=architecture, has_segments=has_segments)
    original = CrossEncoder(str(folder), device="cpu")
    expected = original.predict(PAIRS, activation_fn=torch.nn.Sigmoid(), show_progress_bar=False)
    reranker = await OnnxCrossEncoder.create(str(folder), cache_dir=tmp_path / "cache", threads=1)
    actual = [(await reranker.score(query, [passage]))[0] for query, passage in PAIRS]
    await reranker.close()
    np.testing.assert_allclose(actual, expected, atol=1e-4)
    assert np.ptp(actual) > 0.01  # the weights tell the pairs apart
    assert reranker.scale is ScoreScale.CROSS_ENCODER


async def test_create_exports_once_in_a_process_of_its_own(
    build_cross_encoder: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build_cross_encoder()
    first = await OnnxCrossEncoder.create(str(folder), cache_dir=tmp_path / "cache", threads=1)
    scores = await first.score("the river", ["a house", "how"])
    await first.close()

    async def refuse(source: ModelSource, output: Path) -> tuple[int, str]:
        raise AssertionError("exported again")

    monkeypatch.setattr(cache, "_run_exporter", refuse)
    second = await OnnxCrossEncoder.create(str(folder), cache_dir=tmp_path / "cache", threads=1)
    np.testing.assert_array_equal(await second.score("the river", ["a house", "how"]), scores)
    await second.close()
    (entry,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    assert entry.name.startswith("cross-encoder--tiny-cross-")


async def test_create_model_that_does_not_load_says_what_to_give(tmp_path: Path, in_process: None) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Unavailable, match="cross-encoder empty: it could not be loaded") as raised:
        await OnnxCrossEncoder.create(str(tmp_path / "empty"), cache_dir=tmp_path / "cache")
    assert raised.value.reason == "RERANKER_UNAVAILABLE"


async def test_score_after_close_raises_unavailable(reranker: OnnxCrossEncoder) -> None:
    await reranker.close()
    with pytest.raises(Unavailable) as raised:
        await reranker.score("the river", ["a house"])
    assert raised.value.reason == "RERANKER_UNAVAILABLE"


def export(folder: Path, output: Path) -> str:
    """Return the name of the status; torch is imported by the process that runs these tests alone."""
    from rag_server.backends.onnx import cross_encoder_export
    from rag_server.backends.onnx.graph_export import Status

    output.mkdir()
    arguments = ["--id", "acme/cross", "--load", str(folder), "--output", str(output)]
    return Status(cross_encoder_export.main(arguments)).name


def test_export_is_described(build_cross_encoder: Build, tmp_path: Path) -> None:
    assert export(build_cross_encoder(), tmp_path / "out") == "OK"
    described = read_artifact(tmp_path / "out").description
    assert (described.id, described.window_tokens, described.special_token_count) == ("acme/cross", 24, 3)


def test_export_several_labels_is_unsupported(
    build_cross_encoder: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(build_cross_encoder(label_count=3), tmp_path / "out") == "UNSUPPORTED"
    assert "one label" in capsys.readouterr().err
    assert not (tmp_path / "out" / DESCRIPTION).exists()


def test_export_scores_that_differ_are_refused(
    build_cross_encoder: Build,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = PairTokenizer.pair
    monkeypatch.setattr(PairTokenizer, "pair", lambda self, query, passage: read(self, passage, query))
    assert export(build_cross_encoder(), tmp_path / "out") == "MISMATCH"
    assert "scores differ" in capsys.readouterr().err
    assert not (tmp_path / "out" / DESCRIPTION).exists()


def test_pair_tokenizer_window_without_room_is_refused(cross_encoder: Path) -> None:
    with pytest.raises(ValueError, match="no room"):
        PairTokenizer.from_file(cross_encoder / "tokenizer.json", window_tokens=4)


def test_pair_tokenizer_long_passage_loses_its_end(cross_encoder: Path) -> None:
    tokenizer = PairTokenizer.from_file(cross_encoder / "tokenizer.json", window_tokens=9)
    pair = tokenizer.pair("the river", "house how are chunks cut warm quick")
    whole = tokenizer.pair("the river", "house how are chunks")
    assert pair == whole
    assert len(pair) == 9
    assert pair.segments == [0, 0, 0, 0, 1, 1, 1, 1, 1]


class HeldSession:
    """A run lasts until it is told to stop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.running = asyncio.Event()
        self.stopped = threading.Event()

    def run(self, pairs: list[Pair], stop: Stop, *, is_shared: bool = False) -> np.ndarray:
        self.loop.call_soon_threadsafe(self.running.set)
        while not stop.is_set:
            threading.Event().wait(0.001)
        self.stopped.set()
        raise RunStopped


async def test_score_cancelled_while_it_runs_stops_the_run(cross_encoder: Path) -> None:
    tokenizer = PairTokenizer.from_file(cross_encoder / "tokenizer.json", window_tokens=24)
    session = HeldSession(asyncio.get_running_loop())
    worker = ModelWorker(batch_tokens=64, call_limit=4, role=CROSS_ENCODER)
    reranker = OnnxCrossEncoder(tokenizer, session, worker, 24)
    task = asyncio.create_task(reranker.score("the river", ["a house"] * 40))
    await session.running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(session.stopped.wait, WAIT_S)
    await reranker.close()
