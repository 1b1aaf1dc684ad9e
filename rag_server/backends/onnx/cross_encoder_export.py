"""Exports a sentence-transformers CrossEncoder to one ONNX graph: pairs of texts in, one score each out.

A program like `rag_server.backends.onnx.export`, with the same arguments, files and statuses. The score is
the logistic function of the model's only logit, whatever activation its authors chose: so all models score
on one scale, 0 to 1, in the order that their logits have. `rag_server.backends.onnx.entailment_export` is the
same for models with several labels.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from sentence_transformers import CrossEncoder

from rag_server.backends.onnx.artifact import (
    GRAPH,
    TOKENIZER,
    Description,
    file_sizes,
    write_description,
)
from rag_server.backends.onnx.cross_encoder_session import SCORE_OUTPUT, CrossEncoderSession
from rag_server.backends.onnx.graph_export import (
    UNBOUNDED,
    ExportError,
    Status,
    example_inputs,
    model_files,
    run_export,
    write_graph,
)
from rag_server.backends.onnx.pair_tokenizer import PairTokenizer
from rag_server.backends.onnx.session import Stop
from rag_server.backends.onnx.source import EXPORT_VERSION, fingerprint

MAX_DIFFERENCE = 1e-4


class Head(Protocol):
    """Makes a score of the logits of a model."""

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Take `(n, labels)`, return `(n,)` scores in 0..1."""
        ...


def only_logit(model: CrossEncoder) -> Head:
    """Return the head of a model with one label. Raises `ExportError`."""
    if model.num_labels != 1:
        raise ExportError(Status.UNSUPPORTED, "no sequence classifier with one label")
    return lambda logits: torch.sigmoid(logits[:, 0])


class _Classifier(torch.nn.Module):
    """Transformer and its classification head: ids to scores of shape `(n,)`."""

    def __init__(self, model: torch.nn.Module, head: Head, *, reads_segments: bool) -> None:
        """Wrap `model`; a BERT whose tokenizer names no segments `reads` them as all the first."""
        super().__init__()
        self.model = model
        self.head = head
        self.has_segments = "token_type_ids" in inspect.signature(model.forward).parameters
        self.reads_segments = self.has_segments and reads_segments

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """Take `(n, length)` ids, mask and segments, int64; return `(n,)` scores in 0..1."""
        # multiplied, not dropped: the input stays in the graph, so that all graphs are fed alike
        segments = token_type_ids if self.reads_segments else token_type_ids * 0
        if self.has_segments:
            outputs = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=segments)
            return self.head(outputs.logits)
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return self.head(logits + segments[:, :1].to(logits.dtype))


def export(
    model_id: str, load: str, output: Path, head_of: Callable[[CrossEncoder], Head] = only_logit
) -> Description:
    """Write the export of the model at `load` into the folder `output`. Raises `ExportError`."""
    original = _load(load, attn_implementation="eager")  # the form that the optimizer knows how to fuse
    model: Any = original.model
    if model is None:
        raise ExportError(Status.UNSUPPORTED, "no sequence classifier")
    head = head_of(original)
    tokenizer = original.tokenizer
    if not getattr(tokenizer, "is_fast", False):
        raise ExportError(Status.UNSUPPORTED, f"no fast tokenizer: {type(tokenizer).__name__}")
    tokenizer.backend_tokenizer.save(str(output / TOKENIZER))
    stated = original.max_seq_length or tokenizer.model_max_length
    window_tokens = int(stated) if stated < UNBOUNDED else int(model.config.max_position_embeddings)
    ids = example_inputs()
    inputs = {**ids, "token_type_ids": torch.zeros_like(ids["input_ids"])}
    classifier = _Classifier(model, head, reads_segments="token_type_ids" in tokenizer.model_input_names)
    write_graph(classifier.eval(), inputs, {SCORE_OUTPUT: ["batch"]}, model.config, output)
    pairs = PairTokenizer.from_file(output / TOKENIZER, window_tokens=window_tokens)
    folder, _ = model_files(load)
    description = Description(
        id=model_id,
        dimension=1,
        window_tokens=window_tokens,
        special_token_count=pairs.special_token_count,
        languages=(),
        pooling="",
        normalize=False,
        fingerprint=fingerprint(folder),
        export_version=EXPORT_VERSION,
        pad_token_id=int(tokenizer.pad_token_id or 0),
        sizes=file_sizes(output),
    )
    verify(
        _load(load), output, description, head
    )  # as its authors run it, not as loaded above for the export
    write_description(output, description)
    return description


def verify(original: CrossEncoder, output: Path, description: Description, head: Head) -> float:
    """Return the greatest difference between the export's scores and the original's.

    Raises `ExportError` above `MAX_DIFFERENCE`.
    """
    tokenizer = PairTokenizer.from_file(output / TOKENIZER, window_tokens=description.window_tokens)
    session = CrossEncoderSession(output / GRAPH, thread_count=1, pad_token_id=description.pad_token_id)
    long = "the quick brown fox cites its sources & retrieves documents " * (description.window_tokens // 8)
    pairs = [
        ("how are chunks cut?", "Chunks are cut at headings and sentences."),
        ("how are chunks cut?", long),
        ("¿Cuánto tarda?", "Straßenverkehrsordnung 検索 🙂"),
        (long, "short"),
        ("short", ""),
    ]
    logits = original.predict(
        pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False, convert_to_tensor=True
    )
    theirs = head(logits.reshape(len(pairs), -1)).cpu().numpy()
    ours = session.run([tokenizer.pair(query, passage) for query, passage in pairs], Stop())
    difference = float(np.abs(ours - theirs).max())
    if not difference <= MAX_DIFFERENCE:  # also where it is NaN
        raise ExportError(Status.MISMATCH, f"scores differ by {difference:.2g} from the original's")
    return difference


def _load(load: str, **model_kwargs: str) -> CrossEncoder:
    try:
        kwargs = {"dtype": torch.float32, **model_kwargs}
        model: CrossEncoder = CrossEncoder(load, device="cpu", model_kwargs=kwargs)
    except Exception as error:  # any of a dozen libraries may have raised it
        raise ExportError(Status.NOT_LOADED, f"{type(error).__name__}: {error}") from error
    return model


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return a `Status`."""
    return run_export(export, "Export a sentence-transformers CrossEncoder to ONNX.", arguments)


if __name__ == "__main__":
    sys.exit(main())
