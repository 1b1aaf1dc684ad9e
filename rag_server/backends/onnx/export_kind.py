"""The kinds of models that are exported, and how their failures are told to the operator."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExportKind:
    """One export program and its words."""

    module: str
    """Run with `python -m`."""
    noun: str
    reason: str
    """Of the `Unavailable` that a failure becomes."""
    prefix: str
    """Of the cache entries' names; two dashes occur in no slug."""
    unsupported: str
    mismatch: str
    not_loaded: str


EMBEDDING = ExportKind(
    module="rag_server.backends.onnx.export",
    noun="embedding model",
    reason="EMBEDDER_UNAVAILABLE",
    prefix="",
    unsupported="it has parts that are not supported: the embedder runs Transformer + Pooling (mean or cls) "
    "+ optional Normalize, with a fast tokenizer",
    mismatch="the exported graph does not give the vectors of the original model, so it was not used",
    not_loaded="it could not be loaded: give the id of a sentence-transformers model that is cached or can "
    "be downloaded, or the path of a folder that holds one",
)
ENTAILMENT = ExportKind(
    module="rag_server.backends.onnx.entailment_export",
    noun="entailment model",
    reason="GROUNDING_UNAVAILABLE",
    prefix="entailment--",
    unsupported="it is not supported: an entailment model is a sequence classifier with two labels or more, "
    "of which one begins with `entail`, and a fast tokenizer",
    mismatch="the exported graph does not give the scores of the original model, so it was not used",
    not_loaded="it could not be loaded: give the id of a sentence-transformers CrossEncoder that is cached "
    "or can be downloaded, or the path of a folder that holds one",
)
CROSS_ENCODER = ExportKind(
    module="rag_server.backends.onnx.cross_encoder_export",
    noun="cross-encoder",
    reason="RERANKER_UNAVAILABLE",
    prefix="cross-encoder--",
    unsupported="it is not supported: the reranker runs a sequence classifier with one label and a fast "
    "tokenizer",
    mismatch="the exported graph does not give the scores of the original model, so it was not used",
    not_loaded="it could not be loaded: give the id of a sentence-transformers CrossEncoder that is cached "
    "or can be downloaded, or the path of a folder that holds one",
)
