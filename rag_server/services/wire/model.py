"""Models that answer questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rag.v1 import admin_service_pb2 as pb
from rag_server.backends.protocols import GeneratorModel
from rag_server.domain.engine import EngineFigures
from rag_server.services.wire.engine import to_engine_info


def to_model_info(model: GeneratorModel, engine: Callable[[], EngineFigures] | None = None) -> pb.ModelInfo:
    """Return a model as a message; `engine` tells how the engine fares that runs it here."""
    return pb.ModelInfo(
        name=model.name,
        provider=model.provider,
        window_tokens=model.window_tokens,
        prompt_price=None if model.price is None else model.price.prompt,
        answer_price=None if model.price is None else model.price.answer,
        engine=None if engine is None else to_engine_info(engine()),
    )


def to_model_alias(name: str, shares: Mapping[str, float]) -> pb.ModelAlias:
    """Return an alias as a message."""
    return pb.ModelAlias(
        name=name, shares=[pb.ModelShare(model=model, weight=weight) for model, weight in shares.items()]
    )
