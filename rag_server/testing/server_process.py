"""A server in a process of its own, which tests, benchmarks and the demo may start, stop and kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 60.0
MAIN = ("-m", "rag_server")


class ServerProcess:
    """`python -m rag_server`, or another `program` that ends in the same way, and what it logs."""

    def __init__(
        self, data_dir: Path, *, program: Sequence[str] = MAIN, log_format: str = "json", **settings: object
    ) -> None:
        """Start the process; `settings` are `<group>__<name>`, such as `server__port=0`."""
        values = {"storage__data_dir": data_dir, "server__port": 0, "log__format": log_format, **settings}
        environment = {**os.environ, **{f"RAG_{name.upper()}": str(value) for name, value in values.items()}}
        self._process = subprocess.Popen(
            [sys.executable, *program],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._is_eof = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def log(self) -> str:
        """Everything that it has written to standard error so far."""
        with self._changed:
            return "".join(self._lines)

    def events(self) -> list[dict[str, Any]]:
        """Return the logged events, where the format is `json`."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    def wait_for_event(self, name: str, *, timeout_s: float = START_TIMEOUT_S) -> dict[str, Any]:
        """Wait until the event is logged and return it."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                for line in self._lines:
                    if line.startswith("{") and (event := json.loads(line))["event"] == name:
                        return dict(event)
                left = deadline - time.monotonic()
                if self._is_eof or left <= 0:
                    raise AssertionError(f"no event {name!r} in:\n{''.join(self._lines)}")
                self._changed.wait(left)

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
        code = self._process.wait(timeout_s)
        self._reader.join(timeout_s)
        return code

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
        if self._process.stderr is not None:
            self._process.stderr.close()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._is_eof = True
            self._changed.notify_all()


ServerStarter = Callable[..., ServerProcess]
"""Starts a server on a test's own data folder; takes what `ServerProcess` takes by name."""
