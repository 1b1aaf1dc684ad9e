"""`OnnxEntailment` over a tiny BERT of random weights, against sentence-transformers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rag_server.backends.onnx import cache
from rag_server.backends.onnx.entailment import OnnxEntailment
from rag_server.backends.onnx.source import ModelSource
from rag_server.errors import Unavailable

Build = Callable[..., Path]
LABELS = ("contradiction", "entailment", "neutral")
PAIRS = [
    ("the quick brown fox", "how are chunks cut"),
    ("chunks", "how are chunks cut"),
    ("the river house " * 40, "the short fox"),
]


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the seconds that a process takes to import torch once more."""
    from rag_server.backends.onnx import entailment_export

    async def export(source: ModelSource, output: Path) -> tuple[int, str]:
        arguments = ["--id", source.id, "--load", source.load_argument, "--output", str(output)]
        return await asyncio.to_thread(entailment_export.main, arguments), ""

    monkeypatch.setattr(cache, "_run_exporter", export)


@pytest.mark.parametrize(("labels", "place"), [(LABELS, 1), (("ENTAILMENT", "not_entailment"), 0)])
async def test_probability_is_that_of_the_label_entailment(
    build_cross_encoder: Build, tmp_path: Path, in_process: None, labels: tuple[str, ...], place: int
) -> None:
    import torch
    from sentence_transformers import CrossEncoder

    folder = build_cross_encoder(labels=labels)
    original = CrossEncoder(str(folder), device="cpu")
    expected = original.predict(PAIRS, activation_fn=torch.nn.Softmax(dim=1), show_progress_bar=False)
    model = await OnnxEntailment.create(str(folder), cache_dir=tmp_path / "cache", threads=1)
    actual = await model.entails(PAIRS)
    assert await model.entails([]) == []
    assert model.name == "tiny-cross"
    await model.close()
    np.testing.assert_allclose(actual, expected[:, place], atol=1e-4)
    with pytest.raises(Unavailable) as raised:
        await model.entails(PAIRS)
    assert raised.value.reason == "GROUNDING_UNAVAILABLE"


@pytest.mark.parametrize("labels", [("LABEL_0", "LABEL_1", "LABEL_2"), ("entailment",)])
def test_export_model_without_the_label_is_unsupported(
    build_cross_encoder: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str], labels: tuple[str, ...]
) -> None:
    from rag_server.backends.onnx import entailment_export
    from rag_server.backends.onnx.graph_export import Status

    (tmp_path / "out").mkdir()
    arguments = ["--id", "x", "--load", str(build_cross_encoder(labels=labels)), "--output"]
    assert entailment_export.main([*arguments, str(tmp_path / "out")]) == Status.UNSUPPORTED
    assert "no label for entailment" in capsys.readouterr().err


async def test_create_model_that_does_not_load_says_what_to_give(tmp_path: Path, in_process: None) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Unavailable, match="entailment model empty: it could not be loaded") as raised:
        await OnnxEntailment.create(str(tmp_path / "empty"), cache_dir=tmp_path / "cache")
    assert raised.value.reason == "GROUNDING_UNAVAILABLE"
