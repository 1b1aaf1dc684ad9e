"""From a model's source to what runs it, by way of the cache of exports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog

from rag_server.backends.onnx.artifact import CorruptArtifact, ExportedModel
from rag_server.backends.onnx.cache import discard, ensure_exported
from rag_server.backends.onnx.source import ModelSource
from rag_server.errors import Unavailable

_logger = structlog.get_logger(__name__)

T = TypeVar("T")


async def load_model(
    source: ModelSource, cache_dir: Path, load: Callable[[ExportedModel], T]
) -> tuple[ExportedModel, T]:
    """Return the export of `source` and what `load` makes of it, in a thread.

    An export that `load` finds to be corrupt is made again, once. Raises `Unavailable` with what to do.
    """
    for is_last in (False, True):
        exported = await ensure_exported(source, cache_dir)
        try:
            return exported, await asyncio.to_thread(load, exported)
        except CorruptArtifact as error:
            _logger.warning("cached model does not load: exporting again", model=source.id, error=str(error))
            if not is_last:
                await asyncio.to_thread(discard, exported)
    raise Unavailable(
        source.kind.reason,
        f"the exported {source.kind.noun} does not load on this machine: see the server's log",
    )
