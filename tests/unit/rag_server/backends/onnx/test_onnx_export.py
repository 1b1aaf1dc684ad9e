"""The export, over a tiny BERT of random weights, in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rag_server.backends.onnx.artifact import DESCRIPTION, read_artifact
from rag_server.backends.onnx.source import fingerprint

Build = Callable[..., Path]
CARD = "---\nlanguage:\n- en\n- es\n- multilingual\n- false\n---\n# Tiny\n"


def run(folder: Path | str, output: Path) -> str:
    """Return the name of the status; torch is imported by the process that runs these tests alone."""
    from rag_server.backends.onnx import export

    output.mkdir()
    arguments = ["--id", "acme/tiny", "--load", str(folder), "--output", str(output)]
    return export.Status(export.main(arguments)).name


@pytest.mark.parametrize(("pooling", "normalize"), [("mean", True), ("cls", False)])
def test_export_supported_model_is_verified_and_described(
    build_model: Build, tmp_path: Path, pooling: str, normalize: bool
) -> None:
    folder = build_model(pooling=pooling, normalize=normalize, card=CARD)
    assert run(folder, tmp_path / "out") == "OK"
    described = read_artifact(tmp_path / "out").description
    assert described.id == "acme/tiny"
    assert (described.dimension, described.window_tokens, described.special_token_count) == (32, 16, 2)
    assert (described.pooling, described.normalize) == (pooling, normalize)
    assert described.languages == ("en", "es")
    assert described.fingerprint == fingerprint(folder)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [*described.sizes, DESCRIPTION]
    )


@pytest.mark.parametrize(
    ("options", "named"), [({"dense": True}, "Dense"), ({"pooling": "max"}, "pooling: max")]
)
def test_export_unsupported_module_is_named(
    build_model: Build,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, object],
    named: str,
) -> None:
    assert run(build_model(**options), tmp_path / "out") == "UNSUPPORTED"
    assert named in capsys.readouterr().err
    assert not (tmp_path / "out" / DESCRIPTION).exists()


def test_export_vectors_that_differ_are_refused(
    build_model: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # while the model pools by mean
    monkeypatch.setattr("rag_server.backends.onnx.export.check_modules", lambda model: ("cls", True))
    assert run(build_model(), tmp_path / "out") == "MISMATCH"
    assert "cosine" in capsys.readouterr().err
    assert not (tmp_path / "out" / DESCRIPTION).exists()


def test_export_folder_without_a_model_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", tmp_path / "out") == "NOT_LOADED"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\nlanguage: en\n---\n", ("en",)),
        ("---\nlanguage: [es, pt-BR]\n---\n", ("es", "pt-BR")),
        ("---\nlicense: mit\n---\n", ()),
        ("# no metadata\n", ()),
        ("---\nlanguage: [\n---\n", ()),
    ],
)
def test_card_languages_are_codes_only(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    from rag_server.backends.onnx import export

    (tmp_path / "README.md").write_text(text)
    assert export.card_languages(tmp_path / "README.md") == expected
