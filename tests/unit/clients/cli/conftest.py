"""The fake server, and `ragctl` run against it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ragctl import retry
from ragctl.main import app
from tests.unit.clients.cli.ragctl_fake_server import FakeRag, serve

Run = Callable[..., Result]


@pytest.fixture
def rag() -> FakeRag:
    return FakeRag()


@pytest.fixture
def address(rag: FakeRag) -> Iterator[str]:
    server, port = serve(rag)
    yield f"127.0.0.1:{port}"
    server.stop(grace=None).wait()


@pytest.fixture
def unused_address() -> Iterator[str]:
    """Return an address that nothing listens on: its port is taken, but refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def run(address: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `ragctl` with arguments; COLUMNS is wide, so that cells stay on one line."""
    monkeypatch.setattr(retry.Retry, "wait_s", lambda self, failure_count: 0.001)

    def invoke(*arguments: str, server: str = address, input: str | bytes | None = None) -> Result:
        return CliRunner().invoke(
            app,
            ["--server", server, *arguments],
            input=input,
            env={"COLUMNS": "300", "NO_COLOR": "1", "RAGCTL_SERVER": None},
            catch_exceptions=False,
        )

    return invoke


@pytest.fixture
def json_of() -> Callable[[Result], Any]:
    """Return the JSON document on standard output of a run that succeeded."""

    def parse(result: Result) -> Any:
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return parse
