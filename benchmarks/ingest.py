"""Ingest: against the bare embedder, by workers, of changed documents, of a long PDF; publishing; real files.

    python -m benchmarks.ingest [--rounds N] [--json FILE] [--only PART,...] [FOLDER]

The parts: `embedded` (a server of its own: Markdown and PDF to searchable, a document changed by one percent,
the delay with which WatchJob pushes), `workers` (two worker processes against one), `publish` (10 000 jobs
into RabbitMQ), `pages` (a PDF of 2 000 pages) and `files` (real files in FOLDER, where one is given: each is
read as a worker does). `workers` and `publish` need PostgreSQL and RabbitMQ, which
`python scripts/test_services.py` starts. Figures are ratios within one run, in turns. Ends with status 1
where a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # has no types of its own

from benchmarks.figures import Figure
from benchmarks.ingest_client import IngestClient, client_of
from benchmarks.ingest_distributed import measure_publishing, measure_workers
from benchmarks.ingest_documents import Documents
from benchmarks.ingest_files import measure_files
from rag.v1 import ingest_service_pb2 as ingest_pb
from rag_server.backends.onnx.embedder import OnnxEmbedder
from rag_server.domain.priority import Priority
from rag_server.testing.server_process import ServerProcess

_MARKDOWN_COUNT, _PDF_COUNT, _PDF_PAGES = 12, 6, 8
_LONG_PAGES = 2_000
_LONG_SENTENCES = 1_000
_EMBEDDING_S = 10.0
"""How long the embedding of the long PDF is watched: its 8 000 chunks would take minutes."""
_SAMPLE_S = 0.1


def documents_of(seed: int) -> list[tuple[str, bytes]]:
    """Return documents by name: twice as many in Markdown as in PDF, about as many chunks of each."""
    made = Documents(seed)
    texts = [(f"handbook-{index}.md", made.markdown()) for index in range(_MARKDOWN_COUNT)]
    return texts + [(f"handbook-{index}.pdf", made.pdf(_PDF_PAGES)) for index in range(_PDF_COUNT)]


async def measure_embedded(rounds: int) -> list[Figure]:
    """Chunks per second against the bare embedder, the work of a small change, the delay of a push."""
    embedder = await OnnxEmbedder.create()
    ratios, delays = [], []
    with tempfile.TemporaryDirectory() as folder:
        server = ServerProcess(Path(folder))
        try:
            async with client_of(server.address) as client:
                for number in range(rounds + 1):  # the first one warms up
                    name = f"round-{number}"
                    await client.create(name)
                    run = await client.ingest(name, documents_of(number))
                    texts = await client.texts(name, run.jobs)
                    started = time.perf_counter()
                    await embedder.embed(texts, priority=Priority.BULK)
                    bare_s = time.perf_counter() - started
                    if number:
                        ratios.append(bare_s / run.seconds)
                        delays += run.push_delays_s
                together, scattered = await changed_shares(client, "round-0")
            server.stop()
        finally:
            server.close()
            await embedder.close()
    return [
        Figure(
            "chunks per second / the bare embedder's", statistics.median(ratios), "x", 0.9, is_at_least=True
        ),
        Figure("one percent of a text changed in one place: embedded again", 100 * together, "%", 5.0),
        Figure("... each sentence in a place of its own", 100 * scattered, "%"),
        Figure("a change of a job, until WatchJob has brought it, p99", 1e3 * p99(delays), "ms", 200.0),
    ]


async def changed_shares(client: IngestClient, collection: str) -> tuple[float, float]:
    """Return the shares of chunks that are embedded when one percent of the sentences of a text have changed.

    In one place, and then each in a place of its own, so that each is in at least one chunk by itself.
    """
    made = Documents(1_000)
    sentences = made.sentences(_LONG_SENTENCES)
    await client.ingest(collection, [("long.md", paragraphs(sentences))])
    count = _LONG_SENTENCES // 100
    shares = []
    for places in (slice(495, 495 + count), slice(50, None, 100)):
        sentences[places] = made.sentences(count)
        (job,) = (await client.ingest(collection, [("long.md", paragraphs(sentences))])).jobs
        shares.append(job.progress.embedded_chunk_count / job.progress.chunk_count)
    return shares[0], shares[1]


def paragraphs(sentences: Sequence[str]) -> bytes:
    """Return sentences as a text with a paragraph every five."""
    groups = (sentences[start : start + 5] for start in range(0, len(sentences), 5))
    return "\n\n".join(map(" ".join, groups)).encode()


def p99(values: Sequence[float]) -> float:
    """Return the 99th percentile."""
    return sorted(values)[min(len(values) - 1, int(0.99 * len(values)))]


async def measure_pages() -> list[Figure]:
    """Memory over the idle server, parser processes included, and the longest silence, for a long PDF."""
    data = Documents(7).pdf(_LONG_PAGES)
    with tempfile.TemporaryDirectory() as folder:
        server = ServerProcess(Path(folder))
        try:
            async with client_of(server.address) as client:
                await client.create("pages")
                await client.ingest("pages", [("warm.md", b"# Warm\n\nThe model is loaded and has run.")])
                idle = resident_bytes(server.pid)
                sampler = asyncio.create_task(peak(server.pid))
                silence, stage, pages = await longest_silence(client, data)
                sampler.cancel()
                (most,) = await asyncio.gather(sampler, return_exceptions=False)
            server.stop()
        finally:
            server.close()
    return [
        Figure(f"a PDF of {pages:,} pages: memory over the idle server", (most - idle) / 2**20, "MiB", 600),
        Figure(f"its longest time without a change of its job ({stage})", silence, "s", 1.0),
    ]


async def longest_silence(client: IngestClient, data: bytes) -> tuple[float, str, int]:
    """Ingest a document until it has been embedded for a while; return the longest gap, where, and pages."""
    job_id = await client.submit("pages", "long.pdf", data)
    longest, stage, last, embedding_since, pages = 0.0, "", time.perf_counter(), 0.0, 0
    before = "queued"
    async for job in client.changes(job_id):
        now = time.perf_counter()
        state = ingest_pb.JobState.Name(job.state).removeprefix("JOB_STATE_").lower()
        is_counted = job.state != ingest_pb.JOB_STATE_QUEUED and not job.cancel_requested
        if is_counted and now - last > longest:
            longest, stage = now - last, f"{before} to {state}" if before != state else state
        last, before = now, state
        pages = max(pages, job.progress.page_count)
        if job.state == ingest_pb.JOB_STATE_EMBEDDING:
            embedding_since = embedding_since or now
            if now - embedding_since > _EMBEDDING_S and not job.cancel_requested:
                await client.cancel(job_id)
        if job.state == ingest_pb.JOB_STATE_FAILED:
            raise RuntimeError(f"{job.error.reason}: {job.error.message}")
    return longest, stage, pages


def resident_bytes(pid: int) -> int:
    """Return the memory of a process and its children."""
    process = psutil.Process(pid)
    total = 0
    for each in (process, *process.children(recursive=True)):
        try:
            total += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


async def peak(pid: int) -> int:
    """Return, once cancelled, the most memory that was seen."""
    most = 0
    try:
        while True:
            most = max(most, await asyncio.to_thread(resident_bytes, pid))
            await asyncio.sleep(_SAMPLE_S)
    except asyncio.CancelledError:
        return most


def main() -> int:
    """Print the figures beside their targets."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, help="real files")
    parser.add_argument("--rounds", type=int, default=2, help="turns of ingest and bare embedder")
    parser.add_argument("--only", default="embedded,workers,publish,pages,files", help="some of the parts")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    parts: dict[str, Callable[[], Awaitable[list[Figure]]]] = {
        "embedded": lambda: measure_embedded(options.rounds),
        # so many that it matters little for how long the last one is worked on alone
        "workers": lambda: measure_workers(documents_of(500)),
        "publish": measure_publishing,
        "pages": measure_pages,
    }
    if options.folder:
        parts["files"] = lambda: measure_files(options.folder)
    figures: list[Figure] = []
    for name, measure in parts.items():
        if name in options.only.split(","):
            found = asyncio.run(measure())  # type: ignore[arg-type]  # each is a coroutine
            print(*found, sep="\n", flush=True)
            figures += found
    if options.json:
        options.json.write_text(json.dumps({figure.name: figure.value for figure in figures}, indent=1))
    return int(not all(figure.is_met for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
