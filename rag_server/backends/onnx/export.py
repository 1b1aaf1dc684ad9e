"""Exports a sentence-transformers model to one ONNX graph: token ids in, a unit vector per input out.

A program of its own, so that the server never imports torch:

    python -m rag_server.backends.onnx.export --id ID --load FOLDER_OR_ID --output FOLDER

It writes the files that `rag_server.backends.onnx.artifact` names, verified against
`SentenceTransformer.encode`, or ends with one of the statuses of `Status`. Pooling and scaling to unit
length are part of the graph. Its second output is what is pooled, the last hidden state, as it is: a run
that does not ask for it pays nothing, since no node is there for its sake.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from huggingface_hub import ModelCard
from sentence_transformers import SentenceTransformer
from yaml import YAMLError  # comes with huggingface_hub

from rag_server.backends.onnx.artifact import (
    GRAPH,
    TOKENIZER,
    Description,
    file_sizes,
    write_description,
)
from rag_server.backends.onnx.graph_export import (
    UNBOUNDED,
    ExportError,
    Status,
    example_inputs,
    model_files,
    run_export,
    write_graph,
)
from rag_server.backends.onnx.session import TOKEN_OUTPUT, VECTOR_OUTPUT, EmbeddingSession, Stop
from rag_server.backends.onnx.source import EXPORT_VERSION, fingerprint
from rag_server.backends.onnx.tokenizer import OnnxTokenizer

MIN_COSINE = 0.9999


class _Encoder(torch.nn.Module):
    """Transformer, pooling and unit length as one module."""

    def __init__(self, transformer: torch.nn.Module, pooling: str) -> None:
        super().__init__()
        self.transformer = transformer
        self.pooling = pooling
        self.has_token_types = "token_type_ids" in inspect.signature(transformer.forward).parameters

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`(n, length)` ids and mask, int64 -> `(n, d)` unit vectors, `(n, length, d)` hidden state."""
        extra = {"token_type_ids": torch.zeros_like(input_ids)} if self.has_token_types else {}
        hidden = self.transformer(
            input_ids=input_ids, attention_mask=attention_mask, **extra
        ).last_hidden_state
        if self.pooling == "cls":
            pooled = hidden[:, 0]
        else:
            weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * weights).sum(1) / weights.sum(1)
        return torch.nn.functional.normalize(pooled, p=2.0, dim=1), hidden


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
    folder, readme = model_files(load)
    transformer: Any = original[0].model
    config = transformer.config
    write_graph(
        _Encoder(transformer, pooling).eval(),
        example_inputs(),
        {VECTOR_OUTPUT: ["batch"], TOKEN_OUTPUT: ["batch", "length"]},
        config,
        output,
    )
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
    """Return the lowest cosine between the export's vectors, of texts and of tokens, and the original's.

    A text longer than the window is compared by its first window, which is all that the original reads.
    Raises `ExportError` below `MIN_COSINE`.
    """
    tokenizer = OnnxTokenizer.from_file(output / TOKENIZER, window_tokens=description.window_tokens)
    session = EmbeddingSession(output / GRAPH, thread_count=1, pad_token_id=description.pad_token_id)
    lowest = 1.0
    for texts in verification_batches(description.window_tokens):
        windows = [tokenizer.windows(text)[0] for text in texts]
        pairs = [(session.run(windows, Stop()), original.encode(texts, show_progress_bar=False))]
        theirs = original.encode(texts, output_value="token_embeddings", show_progress_bar=False)
        pairs += zip(session.run_tokens(windows, Stop()), map(np.asarray, theirs), strict=True)
        for our_vectors, their_vectors in pairs:
            if our_vectors.shape != their_vectors.shape:
                raise ExportError(
                    Status.MISMATCH, f"shape {our_vectors.shape}, original {their_vectors.shape}"
                )
            lowest = min(lowest, float(_cosines(our_vectors, their_vectors).min()))
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
    if stated < UNBOUNDED:
        return int(stated)
    transformer: Any = model[0].model
    return int(transformer.config.max_position_embeddings)


def _cosines(left: npt.NDArray[np.float32], right: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return np.asarray((left * right).sum(axis=1) / lengths, np.float32)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return a `Status`."""
    return run_export(export, "Export a sentence-transformers model to ONNX.", arguments)


if __name__ == "__main__":
    sys.exit(main())
