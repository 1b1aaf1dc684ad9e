"""Exports a CrossEncoder of natural language inference to ONNX: pairs in, probability of entailment out.

A program like `rag_server.backends.onnx.cross_encoder_export`. Of the labels, by their names in the model's
configuration, the one that begins with `entail` is the score; the others (`neutral`, `contradiction`) take
what is left of 1. The order of labels differs between models, so no position is taken for granted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from sentence_transformers import CrossEncoder

from rag_server.backends.onnx.artifact import Description
from rag_server.backends.onnx.cross_encoder_export import Head
from rag_server.backends.onnx.cross_encoder_export import export as export_pairs
from rag_server.backends.onnx.graph_export import ExportError, Status, run_export


def entailment(model: CrossEncoder) -> Head:
    """Return the head of a model whose labels tell which of them is entailment. Raises `ExportError`."""
    labels: dict[int, str] = getattr(model.config, "id2label", None) or {}
    places = [place for place, label in labels.items() if str(label).lower().startswith("entail")]
    if model.num_labels < 2 or len(places) != 1:  # noqa: PLR2004 - one label leaves nothing to choose from
        raise ExportError(Status.UNSUPPORTED, f"no label for entailment among {sorted(labels.values())}")
    place = int(places[0])
    return lambda logits: torch.softmax(logits, dim=1)[:, place]


def export(model_id: str, load: str, output: Path) -> Description:
    """Write the export of the model at `load` into the folder `output`. Raises `ExportError`."""
    return export_pairs(model_id, load, output, entailment)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return a `Status`."""
    return run_export(export, "Export an entailment CrossEncoder to ONNX.", arguments)


if __name__ == "__main__":
    sys.exit(main())
