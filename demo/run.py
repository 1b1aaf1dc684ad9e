"""`make demo`: start a server, ingest documents, ask questions, stop. Leaves nothing running.

Everything it does is a `ragctl` command, shown before it runs, so that it can be typed by hand as well.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rag_server.testing.server_process import ServerProcess

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 180  # the first start exports the embedding model, which takes about half a minute
PARTLY_FAILED = 3
"""Exit code of `ragctl ingest` when some documents could not be read."""
QUESTIONS = (
    "How soon must documents issued in contingency mode be sent?",
    "What happens if the two counts differ?",
    "¿Cuánto cuesta el despacho dentro de Talca?",
)


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


@contextmanager
def running_server(
    folder: Path, settings: Mapping[str, object], timeout_s: float = START_TIMEOUT_S
) -> Iterator[str]:
    """Run a server whose state is in `folder`; yield its address. Raises `DemoError`."""
    server = ServerProcess(folder / "data", **settings)  # type: ignore[arg-type] # by name
    try:
        yield wait_for_address(server, timeout_s)
        server.stop()
    finally:
        server.close()


def wait_for_address(server: ServerProcess, timeout_s: float = START_TIMEOUT_S) -> str:
    """Return where the server listens, once it does. Raises `DemoError`."""
    deadline = time.monotonic() + timeout_s
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


def ragctl(address: str, *arguments: str, tolerated: int = 0) -> None:
    """Show and run a ragctl command. Raises `DemoError` for exit codes but 0 and `tolerated`."""
    print(f"\n$ ragctl {shlex.join(arguments)}", flush=True)
    result = subprocess.run(command(*arguments), env=environment(address), check=False)
    if result.returncode not in {0, tolerated}:
        raise DemoError(f"ragctl ended with exit code {result.returncode}")


def document_count(address: str) -> int:
    """Return how many documents can be asked about."""
    result = subprocess.run(
        command("--json", "collections", "get", "demo"),
        env=environment(address),
        check=False,
        capture_output=True,
        text=True,
    )
    return int(json.loads(result.stdout)["document_count"]) if result.returncode == 0 else 0


def command(*arguments: str) -> list[str]:
    """Return the command line of a ragctl command."""
    return [sys.executable, "-m", "ragctl", *arguments]


def environment(address: str) -> dict[str, str]:
    """Return the environment in which ragctl speaks to the demo's server."""
    return {**os.environ, "RAGCTL_SERVER": address}


def run(
    folder: Path,
    docs: Path | None,
    settings: Mapping[str, object] | None = None,
    timeout_s: float = START_TIMEOUT_S,
) -> None:
    """Ingest and ask: the demo's own documents and questions, or those of the reader.

    `settings` are the server's, as `ServerProcess` takes them; `timeout_s` is how long it may take to start.
    """
    own = [ROOT / "README.md", ROOT / "docs", ROOT / "demo" / "corpus"]
    shown = [str(docs)] if docs else [os.path.relpath(source) for source in own]
    with running_server(folder, settings or {}, timeout_s) as address:
        print(f"the server listens on {address}", flush=True)
        ingest = ("ingest", "--collection", "demo", "--create", *shown)
        if docs:
            # A folder of one's own may hold files that cannot be read: the others can be asked about.
            ragctl(address, *ingest, tolerated=PARTLY_FAILED)
            if not document_count(address):
                raise DemoError(
                    f"nothing in {docs} can be asked about: text, Markdown, HTML and PDF are read"
                )
            print("\nAsk away; an empty line ends the demo.", flush=True)
            ragctl(address, "ask", "--collection", "demo")
        else:
            ragctl(address, *ingest)
            for question in QUESTIONS:
                ragctl(address, "ask", "--collection", "demo", question)
    print("\nThe server has stopped. `make demo DOCS=folder` takes your documents, `make serve` stays.")


def main() -> int:
    """Run the demo in a temporary folder; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--docs",
        default=os.environ.get("DOCS", ""),
        help="folder or file to ingest instead of the demo's own; by default the variable DOCS",
    )
    given = parser.parse_args().docs
    docs = Path(given).expanduser() if given else None
    if docs is not None and not docs.exists():
        print(f"make demo: there is no {docs}", file=sys.stderr)
        return 2
    for each in (signal.SIGTERM, signal.SIGHUP):  # as with Ctrl-C: the server is stopped on the way out
        signal.signal(each, lambda number, frame: sys.exit(128 + number))
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
