"""Hybrid retrieval against peers: same passages, same vectors, same machine, one run.

    python -m benchmarks.peers --python PYTHON [--sizes 2000,20000] [--work FOLDER] [--json FILE] [FOLDER ...]

PYTHON is the interpreter of an environment with `benchmarks/requirements-peers.txt`, apart from the
project's. The FOLDERs at the end are labelled sets in BEIR's layout.

Ours is asked over gRPC, in a process of its own, and embeds each query: what a caller sees. A peer runs in a
process of its own too, but is called as a library, and its embedding model is a table of the vectors that our
embedder made, so that all have the same model. Its p50 is that of its search plus that of one query embedding
by sentence-transformers, which the peers' documentation sets them up with, measured in the same turns. The
ratios had they our embedder, so that their searches alone were held against our call, are printed below the
table (docs/decisions/0019-peers-with-the-embedder-they-come-with.md). Peers are otherwise set up as their
documentation does for hybrid search, untuned (`benchmarks/peers_<peer>.py`); all return ten passages with
their texts.

Quality is nDCG@10 over the labelled sets. Milvus Lite is there for comparison, without a target. Ends with
status 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers_data import Labelled, ndcg, passage_index, publish_labelled, read_labelled, read_made_up
from benchmarks.peers_embedding import sentence_transformers_seconds
from benchmarks.peers_ours import serving
from benchmarks.peers_process import PeerProcess
from benchmarks.peers_report import OURS, Report, as_text
from benchmarks.synthetic import Texts, seed
from rag_server.backends.onnx.embedder import OnnxEmbedder

PEERS = {
    "langchain": "LangChain ensemble + Chroma",
    "haystack": "Haystack in memory",
    "txtai": "txtai hybrid",
    "lancedb": "LanceDB hybrid",
    "milvus_lite": "Milvus Lite",
}
UNTARGETED = "milvus_lite"
ROUNDS = 10
_OURS = "ours"
_EMBEDDING = "embedding"
_LIBRARY_EMBEDDING = "embedding by sentence-transformers"


@dataclass(frozen=True)
class Setup:
    """What the command line asked for."""

    python: str
    peers: Sequence[str]
    peer_limit: int
    unlimited: Sequence[str]
    calls: int

    def peers_at(self, size: int) -> list[str]:
        """Return the peers that are measured at a size."""
        return [name for name in self.peers if size <= self.peer_limit or name in self.unlimited]

    def python_of(self, peer: str) -> str:
        """Return the interpreter that has a peer: Milvus Lite is a part of ours."""
        return sys.executable if peer == "milvus_lite" else self.python


def name_of(size: int) -> str:
    """Return the name of the made-up collection of a size, the same in all benchmarks."""
    return f"made-up-{size}"


async def in_turns(
    per_round: int, contenders: Mapping[str, Callable[[int], Awaitable[float]]]
) -> dict[str, float]:
    """Return the median milliseconds of each, taken in turns: what else the machine does hits all.

    A contender takes the position of a query and returns seconds. A round more than counts warms up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_index in range(ROUNDS + 1):
        for name, call in contenders.items():
            times = [await call(round_index * per_round + index) for index in range(per_round)]
            seconds[name] += times if round_index else []
    return {name: 1e3 * statistics.median(times) for name, times in seconds.items()}


async def _timed(call: Awaitable[object]) -> float:
    started = time.perf_counter()
    await call
    return time.perf_counter() - started


async def measure_latency(
    setup: Setup, work: Path, size: int, embedder: OnnxEmbedder, report: Report
) -> None:
    """Add the latencies at one size to the report."""
    per_round = max(1, setup.calls // ROUNDS)
    corpus = await read_made_up(work, name_of(size), embedder, per_round * (ROUNDS + 1))
    unseen = Texts(size + 1)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "corpus"
        corpus.write(folder)
        contenders: dict[str, Callable[[int], Awaitable[float]]] = {}
        for name in setup.peers_at(size):
            peer = await PeerProcess.start(name, setup.python_of(name), folder)
            stack.push_async_callback(peer.close)
            contenders[name] = peer.seconds
            report.versions |= peer.versions
            print(f"{size:,} passages: {PEERS[name]} was ready after {peer.build_s:.0f} s", file=sys.stderr)
        ours = await stack.enter_async_context(serving(work, name_of(size)))
        contenders[_OURS] = lambda query: _timed(ours.search(corpus.queries[query]))
        contenders[_EMBEDDING] = lambda _: _timed(embedder.embed([unseen.question()]))
        embed = sentence_transformers_seconds(embedder.model.id)
        contenders[_LIBRARY_EMBEDDING] = lambda _: asyncio.to_thread(embed, unseen.question())
        p50_ms = await in_turns(per_round, contenders)
    report.embedding_ms[size] = p50_ms[_EMBEDDING]
    report.library_embedding_ms[size] = p50_ms[_LIBRARY_EMBEDDING]
    report.add_latency(OURS, size, p50_ms[_OURS])
    for name in setup.peers_at(size):
        report.add_latency(PEERS[name], size, p50_ms[name] + p50_ms[_EMBEDDING])


async def measure_quality(
    setup: Setup, data_dir: Path, labelled: Labelled, model_id: str, report: Report
) -> None:
    """Add the nDCG@10 of all contenders on one set to the report."""
    corpus = labelled.corpus
    await publish_labelled(data_dir, labelled, model_id)
    async with serving(data_dir, labelled.name) as ours:
        found = [await ours.search(query) for query in corpus.queries]
    rankings: list[Sequence[str]] = [
        [corpus.ids[passage_index(chunk.document_id, chunk.ordinal)] for chunk in chunks] for chunks in found
    ]
    report.add_quality(OURS, labelled.name, _mean_ndcg(rankings, labelled))

    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "corpus"
        corpus.write(folder)
        for name in setup.peers:
            peer = await PeerProcess.start(name, setup.python_of(name), folder)
            rankings = [(await peer.ask(query)).ids for query in range(len(corpus.queries))]
            await peer.close()
            report.versions |= peer.versions
            report.add_quality(PEERS[name], labelled.name, _mean_ndcg(rankings, labelled))


def _mean_ndcg(rankings: Sequence[Sequence[str]], labelled: Labelled) -> float:
    return statistics.fmean(map(ndcg, rankings, labelled.relevant))


async def run(
    setup: Setup, work: Path, sizes: Sequence[int], sets: Sequence[Path], cache: Path | None
) -> Report:
    """Measure everything."""
    report = Report([PEERS[name] for name in setup.peers if name != UNTARGETED])
    embedder = await OnnxEmbedder.create()
    try:
        await seed(work, {name_of(size): size for size in sizes})
        for size in sizes:
            await measure_latency(setup, work, size, embedder, report)
        for folder in sets:
            labelled = await read_labelled(folder, embedder, cache)
            with tempfile.TemporaryDirectory() as data_dir:
                await measure_quality(setup, Path(data_dir), labelled, embedder.model.id, report)
    finally:
        await embedder.close()
    return report


def main() -> int:
    """Print the comparison; return 1 where a target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", type=Path, metavar="FOLDER", help="labelled sets in BEIR's layout")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--peers", default=",".join(PEERS), help="some of them only")
    parser.add_argument("--sizes", default="2000,20000", help="passages of made-up collections; empty: none")
    parser.add_argument("--peer-limit", type=int, default=20_000, help="largest size that peers are put to")
    parser.add_argument("--unlimited", default="milvus_lite", help="peers that are put to all sizes")
    parser.add_argument("--calls", type=int, default=200, help="queries per contender and size")
    parser.add_argument("--work", type=Path, help="folder that keeps what was made for the next run")
    parser.add_argument("--json", type=Path, help="file for the figures, which benchmarks.plot draws")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    options = parser.parse_args()
    setup = Setup(
        options.python,
        options.peers.split(","),
        options.peer_limit,
        options.unlimited.split(","),
        options.calls,
    )
    sizes = [int(size) for size in options.sizes.split(",") if size]
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        cache = options.work / "vectors" if options.work else None
        report = asyncio.run(run(setup, work, sizes, options.sets, cache))
    print(as_text(report, is_markdown=options.markdown))
    if options.json:
        options.json.write_text(json.dumps(report.as_json(), indent=1) + "\n", encoding="utf-8")
    return int(bool(report.misses()))


if __name__ == "__main__":
    sys.exit(main())
