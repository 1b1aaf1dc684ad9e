"""A peer in a process of its own (`benchmarks/peers_worker.py`), asked one query at a time."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_LONGEST_LINE = 2**20
OFFLINE = {
    "ANONYMIZED_TELEMETRY": "False",
    "DO_NOT_TRACK": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "LANCEDB_LOG": "error",
    "LANGSMITH_TRACING": "false",
    "TRANSFORMERS_OFFLINE": "1",
}
"""No telemetry, no model hub, and no two warnings per query (LanceDB)."""


@dataclass(frozen=True)
class Answer:
    """What a peer found, and how long it took by its own clock, the pipe left out."""

    seconds: float
    ids: Sequence[str]


class PeerProcess:
    """Made by `start`, ended by `close`."""

    def __init__(self, log: Path, process: asyncio.subprocess.Process, ready: dict[str, Any]) -> None:
        self._log = log
        self._process = process
        self.versions: dict[str, str] = ready["versions"]
        self.build_s: float = ready["build_s"]

    @classmethod
    async def start(cls, name: str, python: str, folder: Path) -> PeerProcess:
        """Have the peer index the corpus in `folder`; returns once it is ready and quiet."""
        log_file = folder / f"{name}.log"
        with log_file.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(python, "-m", "benchmarks.peers_worker", name, str(folder)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, **OFFLINE},
                cwd=ROOT,
                limit=_LONGEST_LINE,
            )
        return cls(log_file, process, await _read(process, log_file))

    async def ask(self, query: int, top_k: int = 10) -> Answer:
        """Search for a query of the corpus, given by its position."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"query": query, "top_k": top_k}).encode() + b"\n")
        return Answer(**await _read(self._process, self._log))

    async def seconds(self, query: int) -> float:
        """Search, and return how long that took."""
        return (await self.ask(query)).seconds

    async def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        await self._process.wait()


async def _read(process: asyncio.subprocess.Process, log: Path) -> dict[str, Any]:
    assert process.stdout
    line = await process.stdout.readline()
    if not line:
        said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise SystemExit(f"{log.stem} ended with status {await process.wait()}:\n{said}")
    values: dict[str, Any] = json.loads(line)
    return values
