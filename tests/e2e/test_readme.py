"""The README tells the truth: its transcript is replayed, its example runs, its settings are the code's."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag_server.config import settings_table
from rag_server.testing.server_process import ServerProcess

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BUF = ROOT / "node_modules" / ".bin" / "buf"
ADDRESS = "127.0.0.1:50051"
ELIDED = "..."
PATIENCE_S = 20.0


def blocks(marker: str) -> list[str]:
    """Return the fenced blocks that follow a comment `marker`."""
    found = re.findall(rf"<!-- {marker}:.*?-->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert found, f"the README has no block {marker!r}"
    return found


def transcript() -> list[tuple[list[str], str]]:
    """Return the commands of all transcripts in their order, as words, and the output shown for each."""
    commands = []
    for block in blocks("transcript"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            words, output = split_command(part)
            commands.append((words, output.strip()))
    return commands


def split_command(part: str) -> tuple[list[str], str]:
    """Split a command from its output; it goes on over lines while a quote is open or a line ends in `\\`."""
    lines = part.splitlines()
    for end in range(1, len(lines) + 1):
        command = "\n".join(lines[:end])
        if command.endswith("\\"):
            continue
        try:
            return shlex.split(command.replace("\\\n", " ")), "\n".join(lines[end:])
        except ValueError:  # a quote is open
            continue
    raise AssertionError(f"the command does not end: {part}")


def call(address: str, words: list[str]) -> str:
    """Run a grpcurl command of the transcript through `buf curl`; return what it prints on either stream."""
    assert words[:2] == ["grpcurl", "-plaintext"]
    rest = words[2:]
    data = "{}"
    if rest[0] == "-d":
        data, rest = rest[1], rest[2:]
    assert rest[0] == ADDRESS
    url = f"http://{address}"
    curl = [str(BUF), "curl", "--http2-prior-knowledge", "--protocol", "grpc"]
    match rest[1:]:
        case ["list"]:
            command = [*curl, url, "--list-services"]
        case ["describe", _]:
            command = [*curl, url, "--list-methods"]
        case [method]:
            command = [*curl, f"{url}/{method}", "-d", data]
        case _:
            raise AssertionError(f"the test cannot translate {words}")
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return result.stdout + result.stderr


def documents(text: str) -> list[Any]:
    """Return the JSON documents that follow each other in `text`."""
    decoder, found, position = json.JSONDecoder(), [], 0
    while position < len(text):
        document, position = decoder.raw_decode(text, position)
        found.append(document)
        position += len(text[position:]) - len(text[position:].lstrip())
    return found


def agrees(shown: Any, actual: Any) -> bool:
    """Whether `actual` is what is `shown`, where an ellipsis stands for anything."""
    if shown == ELIDED:
        return actual is not None
    if isinstance(shown, dict) and isinstance(actual, dict):
        return shown.keys() == actual.keys() and all(agrees(shown[key], actual[key]) for key in shown)
    if isinstance(shown, list) and isinstance(actual, list):
        return len(shown) == len(actual) and all(map(agrees, shown, actual))
    return bool(shown == actual)


def output_agrees(words: list[str], shown: str, actual: str) -> bool:
    """Whether the output of a command is what the README shows."""
    if words[-1] == "list":
        return shown.splitlines() == actual.splitlines()
    if "describe" in words:
        service = words[-1]
        methods = {f"{service}/{name}" for name in re.findall(r"rpc (\w+)", shown)}
        return methods == {line for line in actual.splitlines() if line.startswith(f"{service}/")}
    if shown.startswith("ERROR:"):
        message = re.search(r"Message: (.*)", shown)
        code = re.search(r"Code: (\w+)", shown)
        assert message is not None
        assert code is not None
        error = json.loads(actual)
        return bool(error["message"] == message[1] and error["code"].replace("_", "") == code[1].lower())
    return agrees(documents(shown), documents(actual))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a server of the test's own; yield its address."""
    server = ServerProcess(tmp_path_factory.mktemp("readme") / "data")
    try:
        yield server.address
        assert server.stop() == 0
    finally:
        server.close()


def test_readme_transcript_replayed_shows_what_the_readme_shows(address: str) -> None:
    assert BUF.exists(), "buf is missing: `make test` installs it"
    commands = transcript()
    assert len(commands) >= 8
    for words, shown in commands:
        deadline = time.monotonic() + PATIENCE_S
        while True:  # a reader takes some seconds between two commands; ingest needs part of one
            actual = call(address, words)
            if output_agrees(words, shown, actual):
                break
            assert time.monotonic() < deadline, f"{shlex.join(words)} printed\n{actual}\nand not\n{shown}"
            assert words[-1].endswith(("ListJobs", "Check")), f"{shlex.join(words)} printed\n{actual}"
            time.sleep(0.1)
    run_example(address)


def run_example(address: str) -> None:
    """The Python example, run after the transcript has made its collection, prints the answer."""
    (program,) = blocks("example")
    program = program.replace(ADDRESS, address)
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.stdout == "Goods can be returned within 30 days.", result.stderr


def test_readme_settings_table_is_that_of_the_code() -> None:
    found = re.search(r"<!-- settings:.*?-->\n(.*?)\n<!-- /settings -->", README, re.DOTALL)
    assert found is not None
    assert found[1] == settings_table(), "run python -m rag_server.config and paste the table"


def test_readme_ragctl_commands_exist() -> None:
    executable = shutil.which("ragctl", path=str(Path(sys.executable).parent))
    commands = re.findall(r"^\$ ragctl ([\w-]+)(?: (list|chunks))?", README, re.MULTILINE)
    assert commands
    for group, command in commands:
        words = [group, command] if command else [group]
        result = subprocess.run(
            [executable or "ragctl", *words, "--help"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert result.returncode == 0, result.stderr


def test_readme_links_lead_to_files() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize(
    ("shown", "actual", "expected"),
    [
        ({"a": ELIDED}, {"a": [1]}, True),
        ({"a": ELIDED}, {}, False),
        ({"a": 1}, {"a": 2}, False),
        ({"a": [1]}, {"a": [1, 2]}, False),
        ({}, {"a": 1}, False),
    ],
)
def test_agreement_knows_what_differs(shown: Any, actual: Any, expected: bool) -> None:
    assert agrees(shown, actual) is expected
