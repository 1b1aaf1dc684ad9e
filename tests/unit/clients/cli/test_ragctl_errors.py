from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

import grpc
import pytest

from rag.v1.collection_service_pb2 import Collection
from ragctl.connection import Address
from ragctl.errors import from_rpc
from tests.unit.clients.cli.ragctl_fake_server import REQUEST_ID, FakeRag, refusal


def test_error_of_the_server_shows_reason_message_fields_and_request_id(run: Any, rag: FakeRag) -> None:
    rag.refusals["Retrieve"].append(
        refusal(
            grpc.StatusCode.INVALID_ARGUMENT,
            "top_k: out of range",
            reason="INVALID_FIELD",
            violations=(("top_k", "out of range"),),
        )
    )
    result = run("search", "x", "-c", "docs")
    assert result.exit_code == 1
    assert "error INVALID_FIELD: top_k: out of range" in result.stderr
    assert result.stderr.count("top_k: out of range") == 1
    assert REQUEST_ID in result.stderr
    assert result.stdout == ""


def test_error_with_several_fields_shows_each_of_them(run: Any, rag: FakeRag) -> None:
    rag.refusals["Retrieve"].append(
        refusal(
            grpc.StatusCode.INVALID_ARGUMENT,
            "top_k: out of range (and 1 more)",
            reason="INVALID_REQUEST",
            violations=(("top_k", "out of range"), ("query", "is required")),
        )
    )
    result = run("search", "x", "-c", "docs")
    assert "  top_k: out of range\n" in result.stderr
    assert "  query: is required\n" in result.stderr


def test_error_with_json_is_one_json_document_on_standard_error(run: Any, rag: FakeRag) -> None:
    rag.refusals["Retrieve"].append(
        refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", reason="TOO_MANY_CALLS", retry_after_s=1.5)
    )
    result = run("search", "x", "-c", "docs", "--json")
    error = json.loads(result.stderr)["error"]
    assert result.exit_code == 1
    assert result.stdout == ""
    assert error["reason"] == "TOO_MANY_CALLS"
    assert error["status"] == "RESOURCE_EXHAUSTED"
    assert error["retry_after_s"] == 1.5
    assert error["metadata"] == {"limit": "7"}
    assert error["request_id"] == REQUEST_ID


def test_error_text_with_control_characters_does_not_reach_the_terminal(run: Any, rag: FakeRag) -> None:
    rag.refusals["Retrieve"].append(refusal(grpc.StatusCode.INTERNAL, "a\x1b[2Jb [bold]c", reason="INTERNAL"))
    result = run("search", "x", "-c", "docs")
    assert "\x1b" not in result.stderr
    assert "[bold]c" in result.stderr


def test_error_without_details_shows_the_status(run: Any, rag: FakeRag) -> None:
    rag.refusals["Retrieve"].append(refusal(grpc.StatusCode.UNIMPLEMENTED, "no such method"))
    result = run("search", "x", "-c", "docs")
    assert result.exit_code == 1
    assert "error UNIMPLEMENTED: no such method" in result.stderr


def test_server_that_is_away_gives_exit_code_4_and_advice(run: Any, unused_address: str) -> None:
    result = run("info", server=unused_address)
    assert result.exit_code == 4
    assert "SERVER_UNREACHABLE" in result.stderr
    assert "ragctl serve" in result.stderr


def test_unavailable_of_the_server_itself_gives_exit_code_1(run: Any, rag: FakeRag) -> None:
    rag.refusals["GetServerInfo"].append(
        refusal(grpc.StatusCode.UNAVAILABLE, "store down", reason="STORE_UNAVAILABLE", retry_after_s=2)
    )
    result = run("info")
    assert result.exit_code == 1
    assert "STORE_UNAVAILABLE" in result.stderr
    assert "try again in 2 s" in result.stderr


def test_deadline_gives_exit_code_5(run: Any, rag: FakeRag) -> None:
    rag.refusals["GetServerInfo"].append(
        lambda context: context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "late")
    )
    result = run("info")
    assert result.exit_code == 5


def test_timeout_option_is_the_deadline_of_the_call(run: Any, rag: FakeRag) -> None:
    run("info", "--timeout", "1000")
    run("--timeout", "5000", "info")
    run("info")
    first, second, default = rag.timeouts["GetServerInfo"]
    # The deadline travels in coarse units: a little more may arrive than was asked for.
    assert 500 < first < 1100
    assert 2000 < second < 5100
    assert default < 40


@pytest.mark.parametrize("arguments", [("--json", "info"), ("info", "--json")])
def test_json_option_works_before_and_after_the_command(run: Any, json_of: Any, arguments: Any) -> None:
    assert json_of(run(*arguments))["version"] == ""


def test_server_option_after_the_command_wins(run: Any, address: str, unused_address: str) -> None:
    assert run("info", "--server", address, server=unused_address).exit_code == 0


def test_server_of_the_environment_is_used(address: str) -> None:
    result = _subprocess(["info", "--json"], {"RAGCTL_SERVER": address})
    assert result.returncode == 0
    assert "embedding_model" not in json.loads(result.stdout)


@pytest.mark.parametrize(
    "server", ["nowhere", "host:0", "host:70000", ":1", "::1:50051", "a b:1", "a/b:1", "h:x"]
)
def test_server_option_that_is_no_address_is_a_usage_error(run: Any, server: str) -> None:
    assert run("info", "--server", server).exit_code == 2


def test_address_with_ipv6_and_names_keeps_its_form() -> None:
    assert str(Address.parse("[::1]:50051")) == "[::1]:50051"
    assert Address.parse("[::1]:1").is_loopback
    assert Address.parse("localhost:1").is_loopback
    assert Address.parse("127.0.0.9:1").is_loopback
    assert not Address.parse("example.org:1").is_loopback


def test_unknown_command_is_a_usage_error(run: Any) -> None:
    assert run("nothing").exit_code == 2


def test_error_that_is_no_call_still_becomes_a_problem() -> None:
    assert from_rpc(grpc.RpcError()).reason == "UNKNOWN"


def test_help_documents_the_exit_codes(run: Any) -> None:
    assert "130 interrupted" in " ".join(run("--help").stdout.split())


def test_version_is_shown_without_a_server(run: Any) -> None:
    assert run("--version").stdout.startswith("ragctl ")


def _environment(extra: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each), **extra}


def _subprocess(arguments: list[str], extra: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ragctl", *arguments],
        env=_environment(extra),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


class _Hang:
    """Holds a call until its caller leaves."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.left = threading.Event()

    def __call__(self, context: grpc.ServicerContext) -> NoReturn:
        context.add_callback(self.left.set)
        self.reached.set()
        self.left.wait(60)
        context.abort(grpc.StatusCode.CANCELLED, "the caller left")


@pytest.mark.parametrize(
    ("method", "command"),
    [
        ("StreamGenerate", ["ask", "why?", "-c", "docs"]),
        ("GetServerInfo", ["info"]),
        ("UploadDocument", ["ingest", "a.txt", "-c", "docs"]),
        ("WatchJob", ["ingest", "a.txt", "-c", "docs"]),
    ],
)
def test_interrupt_cancels_the_call_and_gives_exit_code_130(
    address: str, rag: FakeRag, tmp_path: Path, method: str, command: list[str]
) -> None:
    hang = _Hang()
    rag.collections["docs"] = Collection(id="docs")
    rag.refusals[method].append(hang)
    (tmp_path / "a.txt").write_text("text")
    with subprocess.Popen(
        [sys.executable, "-m", "ragctl", "--server", address, *command],
        env=_environment({}),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert hang.reached.wait(60)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert hang.left.wait(60)
