"""A server whose answers and jobs wait at a gate: `python gated_server.py GATE`.

Answers stop after their sources, jobs before their first stage, until the file GATE is there.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from ingest_worker.pipeline import IngestPipeline
from rag_server.__main__ import main
from rag_server.backends.extractive.generator import ExtractiveGenerator


def gate(path: Path) -> None:
    """Put the gate before the generator and the pipeline."""
    generate, run = ExtractiveGenerator.generate, IngestPipeline.run

    async def opened() -> None:
        while not path.exists():  # noqa: ASYNC110 - the file is the event
            await asyncio.sleep(0.01)

    async def gated_generate(*arguments: Any) -> AsyncGenerator[Any, None]:
        await opened()
        async with aclosing(generate(*arguments)) as events:
            async for event in events:
                yield event

    async def gated_run(*arguments: Any) -> Any:
        await opened()
        return await run(*arguments)

    setattr(ExtractiveGenerator, "generate", gated_generate)  # noqa: B010 - a replacement, not an assignment
    setattr(IngestPipeline, "run", gated_run)  # noqa: B010


if __name__ == "__main__":
    gate(Path(sys.argv[1]))
    sys.exit(main())
