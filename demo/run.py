"""`make demo`: start a server, ingest documents, ask questions, stop. Leaves nothing running.

Everything it does is a `ragctl` command, shown before it runs, so that it can be typed by hand as well.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 180  # the first start exports the embedding model, which takes about half a minute
STOP_TIMEOUT_S = 30
QUESTIONS = (
    "How long is the warranty on cordless tools?",
    "What happens to an ingest job when the server is killed?",
    "¿Cuántos días tengo para devolver un producto?",
)


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


@contextmanager
def running_server(folder: Path) -> Iterator[str]:
    """Run a server whose state is in `folder`; yield its address."""
    log_path = folder / "server.log"
    environment = {
        **os.environ,
        "RAG_STORAGE__DATA_DIR": str(folder / "data"),
        "RAG_SERVER__PORT": "0",
        "RAG_LOG__FORMAT": "json",
    }
    with log_path.open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "rag_server"], env=environment, stderr=log)
    try:
        yield wait_for_address(process, log_path)
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for_address(process: subprocess.Popen[bytes], log_path: Path) -> str:
    """Return the address that the server logs once it serves. Raises `DemoError`."""
    deadline = time.monotonic() + START_TIMEOUT_S
    has_told = False
    while time.monotonic() < deadline:
        for line in log_path.read_text().splitlines():
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "serving":
                return str(event["address"])
            if str(event.get("event", "")).startswith("exporting") and not has_told:
                has_told = True
                print("exporting the embedding model to ONNX, once (about half a minute)...", flush=True)
        if process.poll() is not None:
            raise DemoError(f"the server did not start:\n{log_path.read_text()}")
        time.sleep(0.1)
    raise DemoError(f"the server did not start within {START_TIMEOUT_S} s:\n{log_path.read_text()}")


def ragctl(address: str, *arguments: str) -> None:
    """Show and run a ragctl command. Raises `DemoError` when it fails."""
    print(f"\n$ ragctl {shlex.join(arguments)}", flush=True)
    command = [sys.executable, "-m", "ragctl", *arguments]
    result = subprocess.run(command, env={**os.environ, "RAGCTL_SERVER": address}, check=False)
    if result.returncode != 0:
        raise DemoError(f"ragctl ended with exit code {result.returncode}")


def run(folder: Path, docs: Path | None) -> None:
    """Ingest and ask: the demo's own documents and questions, or those of the reader."""
    sources = [docs] if docs else [ROOT / "README.md", ROOT / "docs", ROOT / "demo" / "corpus"]
    shown = [os.path.relpath(source) for source in sources]
    with running_server(folder) as address:
        print(f"the server listens on {address}", flush=True)
        ragctl(address, "ingest", "--collection", "demo", "--create", *shown)
        if docs:
            print("\nAsk away; an empty line ends the demo.", flush=True)
            ragctl(address, "ask", "--collection", "demo")
        else:
            for question in QUESTIONS:
                ragctl(address, "ask", "--collection", "demo", question)
    print(
        "\nThe server has stopped. `make serve` runs one to stay; `make demo DOCS=folder` takes your documents."
    )


def main() -> int:
    """Run the demo in a temporary folder; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", type=Path, help="folder or file to ingest instead of the demo's own")
    docs: Path | None = parser.parse_args().docs
    if docs is not None and not docs.exists():
        print(f"make demo: there is no {docs}", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="rag-demo-"))
    try:
        run(folder, docs)
    except DemoError as error:
        print(f"make demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
