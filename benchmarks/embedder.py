"""The server's embedder against `SentenceTransformer.encode`: same model, same machine, same threads.

    python benchmarks/embedder.py [--json] [--model ID] [--cache-dir FOLDER] [--threads N] [--rounds N]

And against itself: 32 callers at once with one query each, whose calls share runs of the model, against
calls with 32 of the same queries; by CPU time, too, which says the same on a machine that does other work.

Each round measures both sides one after the other, so that whatever else the machine does hits both;
the figures are medians over rounds. Ends with status 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil  # type: ignore[import-untyped]  # has no types of its own

from rag_server.backends.onnx.embedder import DEFAULT_MODEL, OnnxEmbedder
from rag_server.backends.onnx.source import resolve
from rag_server.cores import usable_cores
from rag_server.domain.priority import Priority

QUERY = "How long does a refund take after the goods came back?"
CHUNK_COUNT = 64
CHUNK_CHARACTERS = 1000
QUERIES_PER_ROUND = 20
PEER_BATCH_SIZE = 32
"""The default of `SentenceTransformer.encode`."""

QUERY_TARGET = 3.0
BATCH_TARGET = 1.25
CALLER_COUNT = 32
SHARED_TARGET = 0.9
COSINE_TARGET = 0.9999

# fmt: off
_WORDS = (
    "the", "a", "of", "and", "to", "in", "for", "with", "from", "after", "before", "contract", "parcel",
    "refund", "customer", "warehouse", "invoice", "deposit", "office", "engine", "valve", "pressure",
    "gauge", "manual", "section", "safety", "switch", "battery", "charger", "winter", "river", "bridge",
    "market", "paper", "library", "archive", "record", "tenant", "lease", "clause", "notice", "period",
    "month", "payment", "delay", "interest", "court", "letter",
)
# fmt: on


@dataclass(frozen=True)
class Figure:
    """One row of the result."""

    name: str
    ours: float
    peer: float
    unit: str
    ratio: float
    target: float

    @property
    def is_met(self) -> bool:
        """Whether the ratio reaches the target."""
        return self.ratio >= self.target


def make_chunks(count: int = CHUNK_COUNT, characters: int = CHUNK_CHARACTERS) -> list[str]:
    """Return `count` texts of `characters` code points: sentences of common words, the same in every run."""
    source = random.Random(20_09)  # noqa: S311 (text, not a secret)
    chunks = []
    for _ in range(count):
        text = ""
        while len(text) < characters:
            text += " ".join(source.choices(_WORDS, k=source.randint(6, 18))).capitalize() + ". "
        chunks.append(text[:characters])
    return chunks


def make_queries(count: int = 10 * CALLER_COUNT) -> list[str]:
    """Return `count` questions of 4 to 16 words, the same in every run."""
    source = random.Random(19_70)  # noqa: S311 (text, not a secret)
    return [
        f"What of {' '.join(source.choices(_WORDS, k=source.randint(2, 14)))} number {index}?"
        for index in range(count)
    ]


async def time_once(call: Callable[[], Awaitable[object]]) -> float:
    """Return the seconds that one awaited call takes."""
    started = time.perf_counter()
    await call()
    return time.perf_counter() - started


async def time_queries(embedder: OnnxEmbedder, count: int) -> list[float]:
    """Return the seconds of `count` calls with one short query each."""
    return [await time_once(lambda: embedder.embed([QUERY])) for _ in range(count)]


@dataclass(frozen=True)
class Rates:
    """Queries per second of wall time and of CPU time."""

    wall: float
    cpu: float


async def rate_queries(embedder: OnnxEmbedder, queries: list[str], *, is_shared: bool) -> Rates:
    """Embed `queries` by callers of one each, or in calls of as many; return the rates."""
    remaining = iter(queries)

    async def call() -> None:
        for query in remaining:
            await embedder.embed([query])

    wall, cpu = time.perf_counter(), time.process_time()
    if is_shared:
        await asyncio.gather(*(call() for _ in range(CALLER_COUNT)))
    else:
        for start in range(0, len(queries), CALLER_COUNT):
            await embedder.embed(queries[start : start + CALLER_COUNT])
    return Rates(len(queries) / (time.perf_counter() - wall), len(queries) / (time.process_time() - cpu))


async def compare_callers(embedder: OnnxEmbedder, rounds: int) -> list[Figure]:
    """Measure callers of one query each against calls of many."""
    queries = make_queries()
    pairs: list[tuple[Rates, Rates]] = []
    for _ in range(rounds + 1):
        shared = await rate_queries(embedder, queries, is_shared=True)
        pairs.append((shared, await rate_queries(embedder, queries, is_shared=False)))
    shared_rates, batch_rates = zip(*pairs[1:], strict=True)  # the first warms up
    figures = []
    for clock in ("wall", "cpu"):
        ours, theirs = (
            [getattr(rates, clock) for rates in measured] for measured in (shared_rates, batch_rates)
        )
        # the median of the rounds' ratios: what else the machine does differs between rounds
        ratio = statistics.median(our / their for our, their in zip(ours, theirs, strict=True))
        name = f"{CALLER_COUNT} callers, against own batches ({clock})"
        rates = statistics.median(ours), statistics.median(theirs)
        figures.append(Figure(name, *rates, "queries/s", ratio, SHARED_TARGET))
    return figures


async def compare(model_id: str, cache_dir: Path | None, threads: int, rounds: int) -> list[Figure]:
    """Measure both sides and return the figures."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    if (folder := resolve(model_id).folder) is not None:
        os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    peer = SentenceTransformer(str(folder or model_id), device="cpu")
    embedder = await OnnxEmbedder.create(model_id, cache_dir=cache_dir, threads=threads)
    chunks = make_chunks()

    async def peer_embeds(texts: list[str]) -> npt.NDArray[np.float32]:
        return np.asarray(peer.encode(texts, batch_size=PEER_BATCH_SIZE, show_progress_bar=False))

    texts = [QUERY, *(chunk[:600] for chunk in chunks[:8])]  # within the window, where both read all
    cosine = float((await embedder.embed(texts) * await peer_embeds(texts)).sum(axis=1).min())

    our_queries: list[float] = []
    peer_queries: list[float] = []
    our_batches: list[float] = []
    peer_batches: list[float] = []
    for round_index in range(rounds + 1):
        ours = await time_queries(embedder, QUERIES_PER_ROUND)
        theirs = [await time_once(lambda: peer_embeds([QUERY])) for _ in range(QUERIES_PER_ROUND)]
        our_batch = await time_once(lambda: embedder.embed(chunks, priority=Priority.BULK))
        peer_batch = await time_once(lambda: peer_embeds(chunks))
        if round_index == 0:
            continue  # warms both up
        our_queries += ours
        peer_queries += theirs
        our_batches.append(our_batch)
        peer_batches.append(peer_batch)
    callers = await compare_callers(embedder, rounds)
    await embedder.close()

    query, peer_query = (1e3 * statistics.median(times) for times in (our_queries, peer_queries))
    rate, peer_rate = (len(chunks) / statistics.median(times) for times in (our_batches, peer_batches))
    batch_name = f"{CHUNK_COUNT} chunks of {CHUNK_CHARACTERS} characters"
    return [
        Figure("one short query, p50", query, peer_query, "ms", peer_query / query, QUERY_TARGET),
        Figure(batch_name, rate, peer_rate, "chunks/s", rate / peer_rate, BATCH_TARGET),
        *callers,
        Figure("lowest cosine between the two", cosine, 1.0, "", cosine, COSINE_TARGET),
    ]


@dataclass(frozen=True)
class Footprint:
    """What the embedder alone costs a process, with a warm cache."""

    import_s: float
    load_s: float
    idle_mib: float
    busy_mib: float
    """Resident memory after 32 texts that fill the window, and after texts of many lengths."""


async def measure_footprint(model_id: str, cache_dir: Path | None, threads: int) -> Footprint:
    """Return load time and memory as a fresh process sees them."""
    program = (
        "import asyncio, sys; sys.path.insert(0, sys.argv[1]); import embedder; "
        "embedder.print_footprint(sys.argv[2], sys.argv[3], int(sys.argv[4]))"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, str(Path(__file__).parent)),
        *(model_id, str(cache_dir or ""), str(threads)),
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    if process.returncode != 0:
        raise SystemExit("the process that measures memory failed")
    return Footprint(**json.loads(printed.splitlines()[-1]))


def print_footprint(model_id: str, cache_dir: str, threads: int) -> None:
    """Measure this process and print a `Footprint` as JSON."""

    async def measure() -> Footprint:
        process = psutil.Process()
        import_s = time.time() - process.create_time()
        started = time.perf_counter()
        folder = Path(cache_dir) if cache_dir else None
        embedder = await OnnxEmbedder.create(model_id, cache_dir=folder, threads=threads)
        load_s = time.perf_counter() - started
        idle = process.memory_info().rss / 2**20
        await embedder.embed(["river " * embedder.model.content_tokens] * 32)
        await embedder.embed([chunk[: 20 * index] for index, chunk in enumerate(make_chunks())])
        busy = process.memory_info().rss / 2**20
        await embedder.close()
        return Footprint(import_s, load_s, idle, busy)

    print(json.dumps(asdict(asyncio.run(measure()))))


def print_figures(figures: list[Figure], footprint: Footprint) -> None:
    """Print the results for a reader."""
    for figure in figures:
        verdict = "met" if figure.is_met else "MISSED"
        print(
            f"{figure.name:38} ours {figure.ours:8.4g} {figure.unit:9} peer {figure.peer:8.4g}  "
            f"ratio {figure.ratio:6.4g}  target >= {figure.target:g}  {verdict}"
        )
    print(
        f"embedder alone: starts in {footprint.import_s:.2f} s, loads in {footprint.load_s:.2f} s; "
        f"resident {footprint.idle_mib:.0f} MiB idle, {footprint.busy_mib:.0f} MiB after work"
    )


def main() -> int:
    """Run the program; return 0 where every target is met."""
    parser = argparse.ArgumentParser(description="Compare the embedder with sentence-transformers.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--cache-dir", type=Path, default=None, help="folder of exported models")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    figures = asyncio.run(compare(options.model, options.cache_dir, options.threads, options.rounds))
    footprint = asyncio.run(measure_footprint(options.model, options.cache_dir, options.threads))
    if options.json:
        rows = [{**asdict(figure), "is_met": figure.is_met} for figure in figures]
        print(json.dumps({"threads": options.threads, "figures": rows, "footprint": asdict(footprint)}))
    else:
        print_figures(figures, footprint)
    return 0 if all(figure.is_met for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
