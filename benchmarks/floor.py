"""The floor that the figures of whole calls are held against: an empty unary call plus one query embedding.

    python -m benchmarks.floor [--calls N] [--json]

The empty call is grpc.health.v1 Check, to a server in a process of its own, over loopback. The embedding
is one short query by the server's embedder, in this process. Both are medians, measured in turns, so that
whatever else the machine does hits both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.embedder import QUERY, time_once
from rag_server.backends.onnx.embedder import OnnxEmbedder
from rag_server.testing.server_process import ServerProcess

ROUNDS = 10


@dataclass(frozen=True)
class Floor:
    """Medians in milliseconds."""

    empty_call_ms: float
    query_embedding_ms: float

    @property
    def total_ms(self) -> float:
        """What a call that embeds one query cannot undercut."""
        return self.empty_call_ms + self.query_embedding_ms


async def measure_floor(address: str, embedder: OnnxEmbedder, calls: int) -> Floor:
    """Return the floor on this machine, from `calls` measurements of each half."""
    call_s: list[float] = []
    embedding_s: list[float] = []
    async with grpc.aio.insecure_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        request = health_pb2.HealthCheckRequest()
        for round_index in range(ROUNDS + 1):
            calls_now = [await time_once(lambda: check(request)) for _ in range(calls // ROUNDS)]
            embeddings_now = [
                await time_once(lambda: embedder.embed([QUERY])) for _ in range(calls // ROUNDS)
            ]
            if round_index > 0:  # the first round warms up
                call_s += calls_now
                embedding_s += embeddings_now
    return Floor(1e3 * statistics.median(call_s), 1e3 * statistics.median(embedding_s))


async def run(calls: int) -> Floor:
    """Start a server, measure, stop it."""
    with tempfile.TemporaryDirectory() as folder:
        server = ServerProcess(Path(folder))
        embedder = await OnnxEmbedder.create()
        try:
            return await measure_floor(server.address, embedder, calls)
        finally:
            await embedder.close()
            server.stop()
            server.close()


def main() -> int:
    """Print the floor."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=500, help="measurements of each half")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    floor = asyncio.run(run(options.calls))
    if options.json:
        print(json.dumps({**asdict(floor), "total_ms": floor.total_ms}))
    else:
        print(f"empty unary call     {floor.empty_call_ms:6.2f} ms  p50")
        print(f"one query embedding  {floor.query_embedding_ms:6.2f} ms  p50")
        print(f"floor                {floor.total_ms:6.2f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
