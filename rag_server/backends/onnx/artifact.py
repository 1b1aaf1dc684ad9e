"""What an export left on disk: the graph, its weights, the tokenizer, and a description of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

GRAPH = "model.onnx"
WEIGHTS = "model.onnx.data"
TOKENIZER = "tokenizer.json"
DESCRIPTION = "model.json"


class CorruptArtifact(Exception):
    """A cache entry that cannot be used; the text is for the log."""


@dataclass(frozen=True, slots=True)
class Description:
    """The contents of `model.json`."""

    id: str
    dimension: int
    window_tokens: int
    """Special tokens included."""
    special_token_count: int
    languages: tuple[str, ...]
    pooling: str
    """`mean` or `cls`; the graph does it."""
    normalize: bool
    """Whether the original normalises; the graph does in any case."""
    fingerprint: str
    export_version: int
    pad_token_id: int
    sizes: dict[str, int]
    """Bytes of each of the other files, to notice a truncated one."""


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """A complete cache entry."""

    folder: Path
    description: Description

    @property
    def graph(self) -> Path:
        """The ONNX graph; its weights lie beside it."""
        return self.folder / GRAPH

    @property
    def tokenizer(self) -> Path:
        """The tokenizer, in the format of the `tokenizers` library."""
        return self.folder / TOKENIZER


def write_description(folder: Path, description: Description) -> None:
    """Write `model.json` into `folder`. Raises `OSError`."""
    text = json.dumps(asdict(description), indent=2, ensure_ascii=False)
    (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def file_sizes(folder: Path) -> dict[str, int]:
    """Return the size in bytes of each file that an export consists of. Raises `OSError`."""
    return {name: (folder / name).stat().st_size for name in (GRAPH, WEIGHTS, TOKENIZER)}


def read_artifact(folder: Path) -> ExportedModel:
    """Return the export in `folder`. Raises `CorruptArtifact` where something is missing or truncated."""
    try:
        fields: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        description = Description(**{**fields, "languages": tuple(fields["languages"])})
        found = file_sizes(folder)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CorruptArtifact(f"{type(error).__name__}: {error}") from error
    if found != description.sizes:
        raise CorruptArtifact(f"sizes {found}, expected {description.sizes}")
    return ExportedModel(folder, description)
