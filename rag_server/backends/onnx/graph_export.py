"""What the export programs share: statuses, and a torch module to one fused ONNX graph.

For BERT-like models ONNX Runtime's transformer optimizer fuses attention, GELU and layer normalisation,
which is exact up to rounding. Nothing is quantised. Imported by export processes only: it needs torch.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from pathlib import Path

import onnx
import torch
from huggingface_hub import try_to_load_from_cache

from rag_server.backends.onnx.artifact import GRAPH, WEIGHTS

_OPSET = 17
_FUSED_MODEL_TYPES = frozenset({"bert", "roberta", "xlm-roberta"})
UNBOUNDED = 1_000_000
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


def write_graph(
    module: torch.nn.Module,
    inputs: Mapping[str, torch.Tensor],
    outputs: Mapping[str, Sequence[str]],
    config: object,
    output: Path,
) -> None:
    """Trace `module`, fuse it where the architecture is known, and write graph and weights apart.

    Args:
        module: Takes `inputs` in order and returns one tensor per name in `outputs`.
        inputs: Examples of shape `(batch, length)`.
        outputs: The names of each output's leading axes that vary: `batch`, or `batch` and `length`.
        config: The transformer's, in transformers' terms.
        output: Folder to write to.
    """
    axes = {name: {0: "batch", 1: "length"} for name in inputs}
    axes |= {name: dict(enumerate(names)) for name, names in outputs.items()}
    raw = output / "raw.onnx"
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of each shape that it takes for a constant
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            str(raw),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes,
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


def example_inputs() -> dict[str, torch.Tensor]:
    """Return ids and mask to trace with: three inputs of 17 tokens, one of them padded."""
    ids = torch.randint(5, 50, (3, 17))
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    return {"input_ids": ids, "attention_mask": mask}


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


def model_files(load: str) -> tuple[Path, Path | None]:
    """Return the folder that a model was loaded from and its model card. Raises `ExportError`."""
    if Path(load).is_dir():
        folder = Path(load)
    else:
        cached = try_to_load_from_cache(load, "config.json")
        if not isinstance(cached, str):
            raise ExportError(Status.NOT_LOADED, "loaded, but not found in the Hugging Face cache")
        folder = Path(cached).parent
    readme = folder / "README.md"
    return folder, readme if readme.is_file() else None


def run_export(
    export: Callable[[str, str, Path], object], description: str, arguments: Sequence[str] | None
) -> int:
    """Run an export program; return a `Status`."""
    parser = argparse.ArgumentParser(description=description)
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
