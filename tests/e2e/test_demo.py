"""`make demo` does what the README shows, and leaves nothing running."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.test_readme import ELIDED, ROOT, block

TIMEOUT_S = 300


def run_demo(*arguments: str, question: str = "") -> subprocess.CompletedProcess[str]:
    """Run the demo as `make demo` does, with `question` typed at its prompt."""
    return subprocess.run(
        [sys.executable, "demo/run.py", *arguments],
        cwd=ROOT,
        input=question,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )


def normalised(line: str) -> str:
    """Return a line without what differs from run to run: ports, times, counts of chunks and documents."""
    line = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", line)
    line = re.sub(r"\d+(\.\d+)? ms", "TIME", line)
    line = re.sub(r"(SUCCEEDED +)\d+", r"\1N", line)
    line = re.sub(r"\d+ of \d+ documents", "N of N documents", line)
    return re.sub(r"\s+", " ", line).strip()


def shows(shown: list[str], actual: list[str]) -> bool:
    """Whether `actual` has the lines that are `shown`, where an ellipsis stands for any number of lines."""
    if not shown:
        return not actual
    if shown[0] == ELIDED:
        return any(shows(shown[1:], actual[start:]) for start in range(len(actual) + 1))
    return bool(actual) and shown[0] == actual[0] and shows(shown[1:], actual[1:])


def assert_nothing_listens(output: str) -> None:
    """The server that the demo has named is gone."""
    found = re.search(r"listens on ([\d.]+):(\d+)", output)
    assert found is not None, output
    with pytest.raises(ConnectionRefusedError), socket.socket() as probe:
        probe.connect((found[1], int(found[2])))


def test_demo_own_documents_prints_what_the_readme_shows() -> None:
    result = run_demo()
    assert result.returncode == 0, result.stdout + result.stderr
    printed = [normalised(line) for line in result.stdout.splitlines() if line.strip()]
    printed = [line for line in printed if not line.startswith("exporting the embedding model")]
    shown = [normalised(line) for line in block("demo").splitlines() if line.strip()]
    assert shows(shown, printed), result.stdout
    assert_nothing_listens(result.stdout)


def test_demo_readers_documents_answers_at_the_prompt(tmp_path: Path) -> None:
    (tmp_path / "tides.md").write_text(
        "# Tides\n\nThe spring tide at the old pier reaches eleven metres.\n", encoding="utf-8"
    )
    result = run_demo("--docs", str(tmp_path), question="How high is the spring tide at the pier?\n")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "The spring tide at the old pier reaches eleven metres.[1]" in result.stdout
    assert_nothing_listens(result.stdout)


def test_demo_absent_folder_ends_with_a_usage_error(tmp_path: Path) -> None:
    result = run_demo("--docs", str(tmp_path / "absent"))
    assert result.returncode == 2
    assert "there is no" in result.stderr


def test_demo_unreadable_documents_ends_with_an_error_and_no_server(tmp_path: Path) -> None:
    (tmp_path / "empty.md").write_text("", encoding="utf-8")
    result = run_demo("--docs", str(tmp_path))
    assert result.returncode == 1
    assert "DOCUMENT_EMPTY" in result.stdout + result.stderr
    assert_nothing_listens(result.stdout)
