"""Exports a sentence-transformers model to one ONNX graph: token ids in, unit vectors out.

A program of its own, so that the server never imports torch:

    python -m rag_server.backends.onnx.export --id ID --load FOLDER_OR_ID --output FOLDER

It writes the files that `rag_server.backends.onnx.artifact` names, verified against
`SentenceTransformer.encode`, or ends with one of the statuses of `Status`. Pooling and scaling to unit
length are part of the graph; for BERT-like models ONNX Runtime's transformer optimizer then fuses
attention, GELU and layer normalisation, which is exact up to rounding. Nothing is quantised.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import warnings
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from huggingface_hub import ModelCard, try_to_load_from_cache
from sentence_transformers import SentenceTransformer
from yaml import YAMLError  # type: ignore[import-untyped]  # comes with huggingface_hub, without types

from rag_server.backends.onnx.artifact import (
    GRAPH,
    TOKENIZER,
    WEIGHTS,
    Description,
    file_sizes,
    write_description,
)
from rag_server.backends.onnx.session import EmbeddingSession, Stop
from rag_server.backends.onnx.source import EXPORT_VERSION, fingerprint
from rag_server.backends.onnx.tokenizer import OnnxTokenizer

MIN_COSINE = 0.9999
_OPSET = 17
_FUSED_MODEL_TYPES = frozenset({"bert", "roberta", "xlm-roberta"})
_UNBOUNDED = 1_000_000
"""Tokenizers without a length of their own state one beyond this."""


class Status(IntEnum):
    """How the process ends; `rag_server.backends.onnx.cache` words each for the operator."""

    OK = 0
    UNSUPPORTED = 3
    MISMATCH = 4
    NOT_LOADED = 5


class ExportError(Exception):
    """The model cannot be exported; the text is for the log."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Encoder(torch.nn.Module):
    """Transformer, pooling and unit length as one module."""

    def __init__(self, transformer: torch.nn.Module, pooling: str) -> None:
        super().__init__()
        self.transformer = transformer
        self.pooling = pooling
        self.has_token_types = "token_type_ids" in inspect.signature(transformer.forward).parameters

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """`(n, length)` ids and mask, int64 -> `(n, d)` unit vectors."""
        extra = {"token_type_ids": torch.zeros_like(input_ids)} if self.has_token_types else {}
        hidden = self.transformer(
            input_ids=input_ids, attention_mask=attention_mask, **extra
        ).last_hidden_state
        if self.pooling == "cls":
            pooled = hidden[:, 0]
        else:
            weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * weights).sum(1) / weights.sum(1)
        return torch.nn.functional.normalize(pooled, p=2.0, dim=1)


def export(model_id: str, load: str, output: Path) -> Description:
    """Write the export of the model at `load` into the folder `output`. Raises `ExportError`."""
    # eager attention is the form that the optimizer knows how to fuse
    original = _load(load, attn_implementation="eager")
    pooling, is_normalized = check_modules(original)
    tokenizer = original.tokenizer
    if not getattr(tokenizer, "is_fast", False):
        raise ExportError(Status.UNSUPPORTED, f"no fast tokenizer: {type(tokenizer).__name__}")
    tokenizer.backend_tokenizer.save(str(output / TOKENIZER))
    window_tokens = _window_tokens(original)
    folder, readme = _files(load)
    transformer: Any = original[0].model
    config = transformer.config
    write_graph(_Encoder(transformer, pooling).eval(), config, output)
    special_token_count = OnnxTokenizer.from_file(
        output / TOKENIZER, window_tokens=window_tokens
    ).special_token_count
    description = Description(
        id=model_id,
        dimension=int(config.hidden_size),
        window_tokens=window_tokens,
        special_token_count=special_token_count,
        languages=card_languages(readme) if readme is not None else (),
        pooling=pooling,
        normalize=is_normalized,
        fingerprint=fingerprint(folder),
        export_version=EXPORT_VERSION,
        pad_token_id=int(tokenizer.pad_token_id or 0),
        sizes=file_sizes(output),
    )
    # as its authors run it, not as loaded above for the export
    verify(_load(load), output, description)
    write_description(output, description)
    return description


def check_modules(model: SentenceTransformer) -> tuple[str, bool]:
    """Return the pooling (`mean` or `cls`) and whether the model normalises.

    Raises `ExportError` for any other list of modules.
    """
    names = [type(module).__name__ for module in model]
    if names not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ExportError(Status.UNSUPPORTED, f"modules: {', '.join(names)}")
    pooling = model[1].pooling_mode
    if pooling not in ("mean", "cls"):
        raise ExportError(Status.UNSUPPORTED, f"pooling: {pooling}")
    return str(pooling), names[-1] == "Normalize"


def write_graph(encoder: torch.nn.Module, config: object, output: Path) -> None:
    """Trace `encoder`, fuse it where the architecture is known, and write graph and weights apart."""
    ids = torch.randint(5, 50, (3, 17))
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    raw = output / "raw.onnx"
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of each shape that it takes for a constant
        torch.onnx.export(
            encoder,
            (ids, mask),
            str(raw),
            input_names=["input_ids", "attention_mask"],
            output_names=["embedding"],
            dynamic_axes={
                "input_ids": {0: "batch", 1: "length"},
                "attention_mask": {0: "batch", 1: "length"},
                "embedding": {0: "batch"},
            },
            opset_version=_OPSET,
            dynamo=False,  # the other exporter needs onnxscript, and its graphs do not fuse
        )
    graph = _fuse(raw, config)
    # the weights go to a file of their own, which the server maps instead of reading
    onnx.save_model(
        graph,
        str(output / GRAPH),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=WEIGHTS,
        size_threshold=4096,
    )
    raw.unlink()


def _fuse(raw: Path, config: object) -> onnx.ModelProto:
    if getattr(config, "model_type", "") not in _FUSED_MODEL_TYPES:
        return onnx.load(str(raw))
    from onnxruntime.transformers.optimizer import optimize_model

    optimized = optimize_model(
        str(raw),
        model_type="bert",
        num_heads=getattr(config, "num_attention_heads", 0),
        hidden_size=getattr(config, "hidden_size", 0),
        opt_level=0,  # this library's fusions only: ONNX Runtime applies its own whenever it loads a graph
        use_gpu=False,
    )
    model: onnx.ModelProto = optimized.model
    return model


def verification_batches(window_tokens: int) -> list[list[str]]:
    """Return batches of texts of mixed lengths, languages and scripts, up to the whole window."""
    sentence = "The Quick brown fox reads 42 documents about retrieval, quotes them & cites its sources. "
    long = sentence * (window_tokens // 12 + 1)
    return [
        ["how are chunks cut?"],
        [""],
        ["¿Qué dice el contrato sobre la devolución de los depósitos?", "x", sentence, sentence * 4],
        [
            "Straßenverkehrsordnung und Öffnungszeiten",
            "検索システムの評価",
            "поиск по документам",
            "🙂 emoji",
        ],
        [long, "short", sentence * 8],
    ]


def verify(original: SentenceTransformer, output: Path, description: Description) -> float:
    """Return the lowest cosine between the export's vectors and the original's.

    A text longer than the window is compared by its first window, which is all that the original reads.
    Raises `ExportError` below `MIN_COSINE`.
    """
    tokenizer = OnnxTokenizer.from_file(output / TOKENIZER, window_tokens=description.window_tokens)
    session = EmbeddingSession(output / GRAPH, thread_count=1, pad_token_id=description.pad_token_id)
    lowest = 1.0
    for texts in verification_batches(description.window_tokens):
        ours = session.run([tokenizer.windows(text)[0] for text in texts], Stop())
        theirs = original.encode(texts, convert_to_numpy=True, show_progress_bar=False)
        if ours.shape != theirs.shape:
            raise ExportError(Status.MISMATCH, f"shape {ours.shape}, original {theirs.shape}")
        lowest = min(lowest, float(_cosines(ours, theirs).min()))
    if not lowest >= MIN_COSINE:  # also where it is NaN
        raise ExportError(Status.MISMATCH, f"cosine {lowest:.6f} with the original, below {MIN_COSINE}")
    return lowest


def card_languages(readme: Path) -> tuple[str, ...]:
    """Return the languages that a model card declares, as BCP 47 codes; empty where it declares none."""
    try:
        declared = ModelCard.load(str(readme)).data.to_dict().get("language")
    except (OSError, ValueError, YAMLError):
        return ()
    listed = [declared] if isinstance(declared, str) else declared or []
    # `multilingual`, `code` and the like are no languages
    return tuple(code for code in listed if isinstance(code, str) and len(code.split("-")[0]) in (2, 3))


def _load(load: str, **model_kwargs: str) -> SentenceTransformer:
    try:
        return SentenceTransformer(load, device="cpu", model_kwargs={"dtype": torch.float32, **model_kwargs})
    except Exception as error:  # any of a dozen libraries may have raised it
        raise ExportError(Status.NOT_LOADED, f"{type(error).__name__}: {error}") from error


def _window_tokens(model: SentenceTransformer) -> int:
    """Return the tokens that one input may have, special tokens included."""
    stated = model.max_seq_length or model.tokenizer.model_max_length
    if stated < _UNBOUNDED:
        return int(stated)
    transformer: Any = model[0].model
    return int(transformer.config.max_position_embeddings)


def _files(load: str) -> tuple[Path, Path | None]:
    """Return the folder that the model was loaded from and its model card."""
    if Path(load).is_dir():
        folder = Path(load)
    else:
        cached = try_to_load_from_cache(load, "config.json")
        if not isinstance(cached, str):
            raise ExportError(Status.NOT_LOADED, "loaded, but not found in the Hugging Face cache")
        folder = Path(cached).parent
    readme = folder / "README.md"
    return folder, readme if readme.is_file() else None


def _cosines(left: npt.NDArray[np.float32], right: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return np.asarray((left * right).sum(axis=1) / lengths, np.float32)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return a `Status`."""
    parser = argparse.ArgumentParser(description="Export a sentence-transformers model to ONNX.")
    parser.add_argument("--id", required=True, help="model id to record")
    parser.add_argument("--load", required=True, help="folder or Hugging Face id to load")
    parser.add_argument("--output", required=True, type=Path, help="existing empty folder to fill")
    options = parser.parse_args(arguments)
    try:
        export(options.id, options.load, options.output)
    except ExportError as error:
        sys.stderr.write(f"{error.status.name}: {error}\n")
        return error.status
    return Status.OK


if __name__ == "__main__":
    sys.exit(main())
