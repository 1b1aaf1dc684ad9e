"""A server in a process of its own, which tests, benchmarks and the demo may start, stop and kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 60.0
MAIN = ("-m", "rag_server")
_POLL_S = 0.01


class ServerProcess:
    """`python -m rag_server`, or another `program` that ends in the same way, and what it logs.

    The log goes to a file: a thread that read it from a pipe would get in the way of who measures the server.
    """

    def __init__(
        self, data_dir: Path, *, program: Sequence[str] = MAIN, log_format: str = "json", **settings: object
    ) -> None:
        """Start the process; `settings` are `<group>__<name>`, such as `server__port=0`."""
        values = {"storage__data_dir": data_dir, "server__port": 0, "log__format": log_format, **settings}
        environment = {**os.environ, **{f"RAG_{name.upper()}": str(value) for name, value in values.items()}}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._process = subprocess.Popen(
            [sys.executable, *program],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
        )

    @property
    def log(self) -> str:
        """Everything that it has written to standard error so far."""
        size = os.fstat(self._log.fileno()).st_size
        # not `read`: the process writes at the position that the two share
        return os.pread(self._log.fileno(), size, 0).decode("utf-8", "replace")

    def events(self) -> list[dict[str, Any]]:
        """Return the logged events, where the format is `json`."""
        whole_lines = self.log.rpartition("\n")[0]
        return [json.loads(line) for line in whole_lines.splitlines() if line.startswith("{")]

    def wait_for_event(self, name: str, *, timeout_s: float = START_TIMEOUT_S) -> dict[str, Any]:
        """Wait until the event is logged and return it."""
        deadline = time.monotonic() + timeout_s
        while True:
            is_last = not self.is_running or time.monotonic() > deadline
            for event in self.events():
                if event["event"] == name:
                    return event
            if is_last:
                raise AssertionError(f"no event {name!r} in:\n{self.log}")
            time.sleep(_POLL_S)

    @property
    def address(self) -> str:
        """Where it listens; waits until it does."""
        return str(self.wait_for_event("serving")["address"])

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def send(self, signal_number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(signal_number)

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Wait for the end and return the exit code; the log is complete then."""
        return self._process.wait(timeout_s)

    def stop(self) -> int:
        """Have it stop in its own time, and return the exit code."""
        self.send(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it with SIGKILL; nothing happens to one that has ended."""
        self._process.kill()
        self.wait()

    def close(self) -> None:
        """Make sure that nothing is left of it."""
        self.kill()
        self._log.close()


ServerStarter = Callable[..., ServerProcess]
"""Starts a server on a test's own data folder; takes what `ServerProcess` takes by name."""
