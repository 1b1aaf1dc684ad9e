from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rag_server.backends.onnx.artifact import (
    CorruptArtifact,
    Description,
    file_sizes,
    read_artifact,
    write_description,
)

FILES = {"model.onnx": b"graph", "model.onnx.data": b"weights", "tokenizer.json": b"{}"}
DESCRIPTION = Description(
    id="acme/tiny",
    dimension=4,
    window_tokens=16,
    special_token_count=2,
    languages=("en", "es"),
    pooling="mean",
    normalize=True,
    fingerprint="0123456789abcdef",
    export_version=1,
    pad_token_id=0,
    sizes={},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    write_description(tmp_path, replace(DESCRIPTION, sizes=file_sizes(tmp_path)))
    return tmp_path


def test_read_artifact_complete_returns_what_was_written(folder: Path) -> None:
    model = read_artifact(folder)
    assert model.description == replace(DESCRIPTION, sizes={name: len(data) for name, data in FILES.items()})
    assert model.graph.read_bytes() == b"graph"
    assert model.tokenizer.read_bytes() == b"{}"


@pytest.mark.parametrize("name", [*FILES, "model.json"])
def test_read_artifact_without_a_file_is_corrupt(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CorruptArtifact):
        read_artifact(folder)


@pytest.mark.parametrize("name", FILES)
def test_read_artifact_truncated_file_is_corrupt(folder: Path, name: str) -> None:
    (folder / name).write_bytes(FILES[name][:-1])
    with pytest.raises(CorruptArtifact, match="sizes"):
        read_artifact(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"languages": 3}', "\udcff"])
def test_read_artifact_unreadable_description_is_corrupt(folder: Path, text: str) -> None:
    (folder / "model.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CorruptArtifact):
        read_artifact(folder)


def test_read_artifact_unknown_field_is_corrupt(folder: Path) -> None:
    fields = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**fields, "surprise": 1}))
    with pytest.raises(CorruptArtifact):
        read_artifact(folder)
