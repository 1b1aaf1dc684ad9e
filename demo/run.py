"""`make demo`: start a server, ingest documents, ask questions, stop. Leaves nothing running.

Everything it does is a `ragctl` command, shown before it runs, so that it can be typed by hand as well.
"""

from __future__ import annotations

import argparse
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

from rag_server.testing.server_process import ServerProcess

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 180  # the first start exports the embedding model, which takes about half a minute
QUESTIONS = (
    "How soon must documents issued in contingency mode be sent?",
    "What happens if the two counts differ?",
    "¿Cuánto cuesta el despacho dentro de Talca?",
)


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


@contextmanager
def running_server(folder: Path) -> Iterator[str]:
    """Run a server whose state is in `folder`; yield its address. Raises `DemoError`."""
    server = ServerProcess(folder / "data")
    try:
        yield wait_for_address(server)
        server.stop()
    finally:
        server.close()


def wait_for_address(server: ServerProcess) -> str:
    """Return where the server listens, once it does. Raises `DemoError`."""
    deadline = time.monotonic() + START_TIMEOUT_S
    has_told = False
    while time.monotonic() < deadline and server.is_running:
        for event in server.events():
            if event["event"] == "serving":
                return str(event["address"])
            if event["event"].startswith("exporting") and not has_told:
                has_told = True
                print("exporting the embedding model to ONNX, once (about half a minute)...", flush=True)
        time.sleep(0.1)
    raise DemoError(f"the server did not start:\n{server.log}")


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
    print("\nThe server has stopped. `make demo DOCS=folder` takes your documents, `make serve` stays.")


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
