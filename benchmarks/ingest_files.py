"""Real files, each read as a worker does: whether one hangs or kills, how near texts are to known ones."""

from __future__ import annotations

import asyncio
import difflib
import re
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure
from ingest_worker.sandbox.limits import ParserLimits
from ingest_worker.sandbox.pool import ParserPool
from rag_server.errors import RagError

_LIMIT_S = 30.0
_TRUTHS = "groundtruth"
"""Folder with the known text of `NAME` in `NAME.md`."""
_AT_ONCE = 2
_SPECIFIC = re.compile(r"[A-Z]+(_[A-Z0-9]+)+")
_WORD = re.compile(r"\w+")
_UNSPECIFIC = frozenset({"INTERNAL", "DOCUMENT_PARSER_CRASHED"})


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    path: Path
    seconds: float
    text: str
    reason: str
    """Why there is no text; empty: there is."""


async def measure_files(folder: Path) -> list[Figure]:
    """Read every file of `folder` that is not Markdown."""
    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and path.suffix not in {".md", ".jsonl"}
    )
    limits = ParserLimits(cpu_s=_LIMIT_S, wall_s=_LIMIT_S)
    async with ParserPool(limits, processes=_AT_ONCE) as pool:
        turn = asyncio.Semaphore(_AT_ONCE)

        async def read(path: Path) -> Outcome:
            async with turn:
                return await _read(pool, path)

        outcomes = await asyncio.gather(*map(read, files))
    unclear = [each for each in outcomes if each.reason in _UNSPECIFIC or _is_odd(each.reason)]
    for each in unclear:
        print(f"{each.path}: {each.reason}", file=sys.stderr)
    similarities = [
        similarity(each.text, truth.read_text(encoding="utf-8"))
        for each in outcomes
        if (truth := truth_of(each.path)) is not None and not each.reason
    ]
    slowest = max(each.seconds for each in outcomes)
    figures = [
        Figure(f"{len(outcomes)} real files: without text or a specific reason", len(unclear), "", 0),
        Figure("the slowest of them", slowest, "s", _LIMIT_S),
    ]
    if similarities:
        name = f"similarity to {len(similarities)} known texts, median"
        figures.append(Figure(name, statistics.median(similarities), "", 0.9, is_at_least=True))
    return figures


async def _read(pool: ParserPool, path: Path) -> Outcome:
    data = await asyncio.to_thread(path.read_bytes)
    started = time.perf_counter()
    text = reason = ""
    try:
        _, parsed = await pool.parse(data, "", path.name)
        text = parsed.text
    except RagError as error:
        reason = error.reason
    return Outcome(path, time.perf_counter() - started, text, reason)


def _is_odd(reason: str) -> bool:
    return bool(reason) and not _SPECIFIC.fullmatch(reason)


def truth_of(path: Path) -> Path | None:
    """Return the file with the known text of a file, where there is one."""
    for parent in path.parents[:3]:
        truth = parent / _TRUTHS / f"{path.name}.md"
        if truth.is_file():
            return truth
    return None


def similarity(text: str, truth: str) -> float:
    """Return how alike two texts are, 0 to 1: of their words, which ones stand in the same order in both."""
    return difflib.SequenceMatcher(None, words(text), words(truth), autojunk=False).ratio()


def words(text: str) -> Sequence[str]:
    """Return the words of a text without markup: comments, links' targets, escapes, rules of tables."""
    text = re.sub(r"<!--.*?-->", " ", text, flags=re.DOTALL)
    text = re.sub(r"(!?\[[^\]]*\])\([^)\s]*\)", r"\1", text)
    text = re.sub(r"&(?:amp|lt|gt|quot|nbsp|#\d+);", " ", text).replace("\\_", "_")
    return [word.casefold() for word in _WORD.findall(text.replace("_", " "))]
