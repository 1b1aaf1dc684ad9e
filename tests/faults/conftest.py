"""What the fault tests share: servers in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rag_server.testing.server_process import ServerProcess, ServerStarter


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[ServerStarter]:
    """Return a function that starts a server on this test's data folder; none outlives the test."""
    with ExitStack() as stack:

        def start(**options: object) -> ServerProcess:
            process = ServerProcess(tmp_path / "data", **options)  # type: ignore[arg-type] # by name
            stack.callback(process.close)
            return process

        yield start
