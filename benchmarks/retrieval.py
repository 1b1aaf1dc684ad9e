"""Retrieval over gRPC: latency against the floor and by size, filters, callers at once, memory, restarts.

    python -m benchmarks.retrieval [--sizes 2000,20000,200000] [--work FOLDER] [--calls N] [--json FILE]

The server runs in a process of its own over made-up collections (`benchmarks/synthetic.py`), which are
written to the work folder once; making 200 000 passages takes several minutes. Every query is a new one.
Figures are ratios within one run, measured in turns, so that whatever else the machine does hits both sides.
Ends with status 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil  # type: ignore[import-untyped]  # has no types of its own
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.figures import Figure
from benchmarks.increment import measure_increment
from benchmarks.synthetic import Texts, seed
from rag.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    retrieve_service_pb2,
    retrieve_service_pb2_grpc,
    retriever_pb2,
)
from rag_server.backends.onnx.embedder import OnnxEmbedder
from rag_server.backends.protocols import Embeddings
from rag_server.query.resident.dense import CODES_THRESHOLD_ROWS
from rag_server.testing.server_process import ServerProcess

SHARES = (0.01, 0.1, 0.5)
ROUNDS = 10
CALLERS = 32
_OPTIONS = [("grpc.max_receive_message_length", -1)]


class Client:
    """Calls one server."""

    def __init__(self, channel: grpc.aio.Channel, seed_number: int) -> None:
        self._retrieve = retrieve_service_pb2_grpc.RetrieveServiceStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)
        self._admin = admin_service_pb2_grpc.AdminServiceStub(channel)
        self._texts = Texts(seed_number)

    async def empty(self) -> None:
        """Make the empty call."""
        await self._health.Check(health_pb2.HealthCheckRequest())

    def request(self, collection: str, **options: Any) -> retrieve_service_pb2.RetrieveRequest:
        """Return a request that nobody has made before."""
        return retrieve_service_pb2.RetrieveRequest(
            collection_ids=[collection], query=self._texts.question(), options=options
        )

    async def ask(self, request: retrieve_service_pb2.RetrieveRequest) -> Any:
        """Send a request."""
        return await self._retrieve.Retrieve(request, timeout=300)

    async def embed(self, text: str) -> Embeddings:
        """Return the vector that the server gives a query."""
        response = await self._retrieve.Embed(retrieve_service_pb2.EmbedRequest(texts=[text]))
        return np.array(response.embeddings[0].values, np.float32)

    async def retrievers(self) -> dict[str, Any]:
        """Return the collections in memory by id."""
        info = await self._admin.GetServerInfo(admin_service_pb2.GetServerInfoRequest())
        return {each.collection_id: each for each in info.retrievers}

    async def in_memory(self, collection: str, *, is_coded: bool) -> Any:
        """Ask until the collection is searched in memory, then return what the server says of it."""
        await self.ask(self.request(collection))
        while True:
            info = (await self.retrievers()).get(collection)
            is_serving = info is not None and info.state == retriever_pb2.RETRIEVER_STATE_SERVING
            if is_serving and (not is_coded or info.dense_method == retriever_pb2.DENSE_METHOD_CODES):
                return info
            await asyncio.sleep(0.2)


async def medians(calls: int, measured: dict[str, Callable[[], Awaitable[object]]]) -> dict[str, float]:
    """Return the median milliseconds of each, taken in turns; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in measured}
    for round_index in range(ROUNDS + 1):
        for name, work in measured.items():
            for _ in range(max(1, calls // ROUNDS)):
                started = time.perf_counter()
                await work()
                if round_index:
                    seconds[name].append(time.perf_counter() - started)
    return {name: 1e3 * statistics.median(each) for name, each in seconds.items()}


async def latencies(client: Client, embedder: OnnxEmbedder, sizes: Sequence[int], calls: int) -> list[Figure]:
    """Latency against the floor, and against size."""
    texts = Texts(99)
    same = client.request(name_of(sizes[-1]))

    async def embed() -> None:
        await embedder.embed([texts.question()])

    async def floor() -> None:
        # one after the other, as in a query: apart, each would find the processor's caches as it left them
        await embed()
        await client.empty()

    measured: dict[str, Callable[[], Awaitable[object]]] = {
        "empty": client.empty,
        "embedding": embed,
        "floor": floor,
        "cached": lambda: client.ask(same),
    }
    for size in sizes:
        measured[name_of(size)] = lambda size=size: client.ask(client.request(name_of(size)))
    found = await medians(calls, measured)
    figures = [
        Figure("empty call, p50", found["empty"], "ms"),
        Figure("one query embedding, p50", found["embedding"], "ms"),
        Figure("floor: an embedding, then an empty call, p50", found["floor"], "ms"),
    ]
    figures += [Figure(f"hybrid, {size:,} passages, p50", found[name_of(size)], "ms") for size in sizes]
    if 20_000 in sizes:
        ratio = found[name_of(20_000)] / found["floor"]
        figures.append(Figure("hybrid, 20,000 passages / floor", ratio, "x", 1.5))
    figures.append(Figure("cached / empty call", found["cached"] / found["empty"], "x", 1.4))
    if {20_000, 200_000} <= set(sizes):
        ratio = found[name_of(200_000)] / found[name_of(20_000)]
        figures.append(Figure("hybrid, 200,000 / 20,000 passages", ratio, "x", 2.0))
    return figures


def _share(share: float) -> dict[str, Any]:
    bound = {"double_value": share}
    return {"range": {"field": "metadata.share", "less_than": bound}}


async def filters(client: Client, size: int, calls: int) -> list[Figure]:
    """Latency of filtered queries against unfiltered ones."""
    name = name_of(size)
    measured: dict[str, Callable[[], Awaitable[object]]] = {
        "all": lambda: client.ask(client.request(name)),
        **{
            f"{share:.0%}": lambda share=share: client.ask(client.request(name, filter=_share(share)))
            for share in SHARES
        },
    }
    found = await medians(calls, measured)
    return [
        Figure(
            f"{size:,} passages, filter passes {share:.0%} / unfiltered",
            found[f"{share:.0%}"] / found["all"],
            "x",
            1.5,
        )
        for share in SHARES
    ]


async def recalls(client: Client, size: int, queries: int) -> list[Figure]:
    """Recall@10 of the dense leg against an exact search of the same server (all passages as candidates)."""
    name = name_of(size)
    figures = []
    for share in (*SHARES, 1.0):
        shared = 0
        for _ in range(queries):
            dense_only = {"adaptive": {"lexical_weight": 0.0}}
            options: dict[str, Any] = {"fusion": dense_only, "top_k": 10}
            if share < 1:
                options["filter"] = _share(share)
            request = client.request(name, **options)
            got = {each.chunk.id for each in (await client.ask(request)).results}
            request.options.candidate_count = 2000
            best = {each.chunk.id for each in (await client.ask(request)).results}
            shared += len(got & best)
        figures.append(
            Figure(
                f"{size:,} passages, filter passes {share:.0%}: recall@10",
                shared / (10 * queries),
                "",
                0.98,
                is_at_least=True,
            )
        )
    return figures


async def throughput(client: Client, embedder: OnnxEmbedder, size: int, calls: int) -> list[Figure]:
    """Queries per second of callers at once, against the embedder's own in batches of as many."""
    texts = Texts(77)

    async def caller(requests: Sequence[retrieve_service_pb2.RetrieveRequest]) -> None:
        for request in requests:
            await client.ask(request)

    served, embedded = [], []
    for round_index in range(4):
        each = [[client.request(name_of(size)) for _ in range(calls // CALLERS)] for _ in range(CALLERS)]
        started = time.perf_counter()
        await asyncio.gather(*map(caller, each))
        rate = (calls // CALLERS) * CALLERS / (time.perf_counter() - started)
        batches = [[texts.question() for _ in range(CALLERS)] for _ in range(calls // CALLERS)]
        started = time.perf_counter()
        for batch in batches:
            await embedder.embed(batch)
        if round_index:
            served.append(rate)
            embedded.append(len(batches) * CALLERS / (time.perf_counter() - started))
    return [
        Figure(f"{CALLERS} callers at once, {size:,} passages", statistics.median(served), "/s"),
        Figure(f"embedder in batches of {CALLERS}", statistics.median(embedded), "/s"),
        Figure(
            "callers at once / embedder",
            statistics.median(served) / statistics.median(embedded),
            "x",
            0.6,
            is_at_least=True,
        ),
    ]


def name_of(size: int) -> str:
    """Return the name of the collection of a size."""
    return f"made-up-{size}"


def _resident_mb(server: ServerProcess) -> float:
    return float(psutil.Process(server.pid).memory_info().rss) / 2**20


@asynccontextmanager
async def serving(work: Path) -> AsyncIterator[tuple[ServerProcess, Client]]:
    """Run a server over the work folder for the length of the block."""
    settings = {"retrieval__preload_collections": 0, "retrieval__resident_memory_bytes": 8 * 2**30}
    server = ServerProcess(work, **settings)
    try:
        async with grpc.aio.insecure_channel(server.address, options=_OPTIONS) as channel:
            yield server, Client(channel, time.time_ns() % 2**32)
        server.stop()
    finally:
        server.close()


async def run(sizes: Sequence[int], work: Path, calls: int) -> list[Figure]:
    """Measure everything."""
    embedder = await OnnxEmbedder.create()
    figures: list[Figure] = []
    largest = max(sizes)
    label = f"{largest:,} passages"
    is_coded = largest > CODES_THRESHOLD_ROWS
    snapshots = work / "resident"
    shutil.rmtree(snapshots, ignore_errors=True)
    try:
        async with serving(work) as (server, client):
            await client.empty()
            idle_mb = _resident_mb(server)
            loads = [await client.in_memory(name_of(size), is_coded=False) for size in sizes]
            figures.append(Figure(f"{label} from the store", loads[-1].build_duration_ms / 1e3, "s", 60))
            await client.in_memory(name_of(largest), is_coded=is_coded)
            while len(list(snapshots.glob("*/manifest.json"))) < len(sizes):
                await asyncio.sleep(0.5)
            figures += await latencies(client, embedder, sizes, calls)
            figures += await filters(client, largest, calls)
            figures += await recalls(client, largest, 50)
            figures += await throughput(client, embedder, min(20_000, largest), 40 * CALLERS)
        async with serving(work) as (server, client):
            load = await client.in_memory(name_of(largest), is_coded=is_coded)
            figures.append(Figure(f"{label} from a snapshot", load.build_duration_ms / 1e3, "s", 3))
            for _ in range(calls):
                await client.ask(client.request(name_of(largest)))
            over_idle = (_resident_mb(server) - idle_mb) / 1024
            figures.append(Figure(f"memory for {label}", over_idle, "GiB", 1.0))
        increment_ms = await measure_increment(work, name_of(largest))
        figures.append(Figure(f"100 passages added to {label}, until visible", increment_ms, "ms", 50))
    finally:
        await embedder.close()
    return figures


def main() -> int:
    """Print the figures beside their targets."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="2000,20000,200000", help="passages of each collection, ascending")
    parser.add_argument("--work", type=Path, help="folder that keeps the collections for the next run")
    parser.add_argument("--calls", type=int, default=300, help="calls per measurement")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder) / "data"
        asyncio.run(seed(work, {name_of(size): size for size in sizes}))
        figures = asyncio.run(run(sizes, work, options.calls))
    for figure in figures:
        print(figure)
    if options.json:
        options.json.write_text(json.dumps({figure.name: figure.value for figure in figures}, indent=1))
    return int(not all(figure.is_met for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
