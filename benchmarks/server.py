"""The embedded server: time from start to SERVING with a warm cache, and memory with the demo's documents.

    python -m benchmarks.server [--starts N] [--json]

Ends with status 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # has no types of its own

from rag_server.testing.server_process import ServerProcess

START_TARGET_S = 4.0
MEMORY_TARGET_MB = 450.0
ROOT = Path(__file__).resolve().parent.parent
SOURCES = [ROOT / "README.md", ROOT / "docs", ROOT / "demo" / "corpus"]
QUESTIONS = ("What happens when the server is killed?", "How are errors reported?", "¿Qué es la garantía?")


def ragctl(address: str, *arguments: str) -> None:
    """Run a ragctl command against the server; raises where it fails."""
    command = [sys.executable, "-m", "ragctl", "--server", address, *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def time_start(data_dir: Path) -> float:
    """Return the seconds from starting the process to SERVING."""
    started = time.perf_counter()
    server = ServerProcess(data_dir)
    try:
        server.wait_for_event("serving")
        seconds = time.perf_counter() - started
        server.stop()
        return seconds
    finally:
        server.close()


def measure_memory(data_dir: Path) -> float:
    """Return the resident memory, in megabytes, after the demo's documents were ingested and asked about."""
    server = ServerProcess(data_dir)
    try:
        address = server.address
        ragctl(address, "ingest", "--collection", "demo", "--create", *map(str, SOURCES))
        for question in QUESTIONS:
            ragctl(address, "ask", "--collection", "demo", question)
        resident = float(psutil.Process(server.pid).memory_info().rss) / 1e6
        server.stop()
        return resident
    finally:
        server.close()


def main() -> int:
    """Print the figures beside their targets."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--starts", type=int, default=5, help="starts that are timed")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder) / "data"
        memory_mb = measure_memory(data_dir)
        start_s = statistics.median(time_start(data_dir) for _ in range(options.starts))
    if options.json:
        print(json.dumps({"start_s": start_s, "resident_mb": memory_mb}))
    else:
        print(f"start to SERVING, warm cache     {start_s:6.2f} s    target: at most {START_TARGET_S:g} s")
        print(
            f"resident memory, demo documents  {memory_mb:6.1f} MB   target: at most {MEMORY_TARGET_MB:g} MB"
        )
    return int(start_s > START_TARGET_S or memory_mb > MEMORY_TARGET_MB)


if __name__ == "__main__":
    sys.exit(main())
