"""A vector store that a test can take down and bring back: `milvus-lite server`, as a stand-in for Milvus."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path


class StoreProcess:
    """Keeps its port and its folder over all its lives."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, and wait until it listens; nothing happens when it runs."""
        if self._process is not None:
            return
        command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", str(self._folder)]
        self._process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(self._port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert self._process.stdout is not None
        assert b"listening" in self._process.stdout.readline()

    def kill(self) -> None:
        """End it with SIGKILL; nothing happens when it does not run."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait(timeout=30)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None
