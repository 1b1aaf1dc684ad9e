"""How collections are searched."""

from __future__ import annotations

from rag.v1 import retriever_pb2 as pb
from rag_server.domain.retrieval import Engine

_ENGINES = {
    Engine.RESIDENT: pb.RETRIEVAL_ENGINE_RESIDENT,
    Engine.STORE: pb.RETRIEVAL_ENGINE_STORE,
}
_DENSE_METHODS = {
    "exact": pb.DENSE_METHOD_EXACT,
    "hnsw": pb.DENSE_METHOD_HNSW,
    "codes": pb.DENSE_METHOD_CODES,
    "store": pb.DENSE_METHOD_STORE,
}


def to_engine(engine: Engine) -> pb.RetrievalEngine.ValueType:
    """Return an engine as the contract names it."""
    return _ENGINES[engine]


def to_dense_method(name: str) -> pb.DenseMethod.ValueType | None:
    """Return how vectors are searched (`exact`, `codes`, `hnsw`, `store`); None for the empty name."""
    return _DENSE_METHODS[name] if name else None
