"""A server that cannot start says why, by a stable reason and an exit code, and harms no other."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from rag.v1 import admin_service_pb2 as admin_pb
from rag_server.testing.server_process import ServerProcess, ServerStarter
from tests.rag_client import RagClient


def refusal_of(process: ServerProcess) -> str:
    """Return the reason that a server gave before it ended with exit code 1."""
    assert process.wait() == 1
    assert "Traceback" not in process.log
    return str(process.events()[-1]["reason"])


async def test_second_server_on_the_same_data_is_refused_and_the_first_goes_on(
    start_server: ServerStarter,
) -> None:
    first = start_server()
    assert first.address

    second = start_server()

    assert refusal_of(second) == "DATA_DIR_IN_USE"
    async with RagClient(first.address) as client:
        assert (await client.admin.GetServerInfo(admin_pb.GetServerInfoRequest())).version


@pytest.mark.parametrize("port_setting", ["server__port", "metrics__port"])
def test_port_that_is_taken_is_refused(start_server: ServerStarter, port_setting: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        process = start_server(**{port_setting: taken.getsockname()[1]})

        assert refusal_of(process) == "ADDRESS_UNUSABLE"


def test_data_folder_that_is_a_file_is_refused(start_server: ServerStarter, tmp_path: Path) -> None:
    (tmp_path / "data").touch()

    assert refusal_of(start_server()) == "DATA_DIR_UNUSABLE"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("server__port", "99999"),
        ("server__port", "secret-word"),
        ("server__nonsense", "secret-word"),
        ("ingest__concurrency", "0"),
        ("log__format", "secret-word"),
    ],
)
def test_wrong_setting_is_named_and_its_value_is_not(
    start_server: ServerStarter, name: str, value: str
) -> None:
    process = start_server(**{name: value})

    assert process.wait() == 2
    assert f"RAG_{name.upper()}" in process.log
    assert value not in process.log
    assert "Traceback" not in process.log


@pytest.mark.parametrize(
    "content", ["not = [toml", "ingest = 5", "[ingest]\nconcurrency = 'secret-word'\n", None]
)
def test_wrong_settings_file_is_refused(
    start_server: ServerStarter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    file = tmp_path / "settings.toml"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("RAG_CONFIG_FILE", str(file))

    process = start_server()

    assert process.wait() == 2
    assert "wrong settings" in process.log
    assert "secret-word" not in process.log
    assert "Traceback" not in process.log
