"""Engines that run models in the server's care."""

from __future__ import annotations

from rag.v1 import admin_service_pb2 as pb
from rag_server.domain.engine import EngineFigures


def to_engine_info(figures: EngineFigures) -> pb.EngineInfo:
    """Return how an engine fares as a message."""
    return pb.EngineInfo(
        running_count=figures.running_count,
        waiting_count=figures.waiting_count,
        cache_usage=figures.cache_usage,
        prompt_token_count=figures.prompt_token_count,
        cached_token_count=figures.cached_token_count,
    )
