"""`make demo` prints what the README's picture shows, and leaves nothing running."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from demo.record import COLUMNS, OUTPUT, PICTURE, render

ROOT = OUTPUT.parents[1]
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
        env={**os.environ, "COLUMNS": str(COLUMNS)},
    )


def normalised(line: str) -> str:
    """Return a line without what differs from run to run: ports, times, spaces."""
    line = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", line)
    line = re.sub(r"\d+(\.\d+)? ms", "TIME", line)
    return re.sub(r"\s+", " ", line).strip()


def answers(output: str) -> list[str]:
    """Return what the demo prints of its questions: the table of documents changes with every page."""
    lines = [normalised(line) for line in output.splitlines() if line.strip()]
    return lines[next(index for index, line in enumerate(lines) if line.startswith("$ ragctl ask")) :]


def documents(output: str) -> list[str]:
    """Return what the demo prints of the documents, but for the counts of chunks: each edit changes them."""
    lines = output.splitlines()
    return [
        re.sub(r"(SUCCEEDED +)\d+.*", r"\1", line)
        for line in lines[: lines.index(next(line for line in lines if "documents searchable" in line)) + 1]
        if "SUCCEEDED" in line or "documents searchable" in line
    ]


def assert_nothing_listens(output: str) -> None:
    """The server that the demo has named is gone."""
    found = re.search(r"listens on ([\d.]+):(\d+)", output)
    assert found is not None, output
    with pytest.raises(ConnectionRefusedError), socket.socket() as probe:
        probe.connect((found[1], int(found[2])))


def test_demo_own_documents_prints_what_was_recorded() -> None:
    result = run_demo()
    assert result.returncode == 0, result.stdout + result.stderr
    assert answers(result.stdout) == answers(OUTPUT.read_text("utf-8")), "run python demo/record.py"
    assert documents(result.stdout) == documents(OUTPUT.read_text("utf-8")), "run python demo/record.py"
    assert_nothing_listens(result.stdout)


def test_demo_picture_is_that_of_the_recorded_output() -> None:
    assert PICTURE.read_text("utf-8") == render(OUTPUT.read_text("utf-8"))


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


def test_demo_folder_with_a_bad_file_asks_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "my documents"
    folder.mkdir()
    (folder / "good.md").write_text("# Bridge\n\nThe old bridge carries twelve tons.\n", encoding="utf-8")
    (folder / "bad.txt").write_text("", encoding="utf-8")
    result = run_demo("--docs", str(folder), question="How many tons does the old bridge carry?\n")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "DOCUMENT_EMPTY" in result.stdout
    assert "The old bridge carries twelve tons.[1]" in result.stdout


def test_demo_terminated_leaves_no_server_and_no_folder(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    demo = subprocess.Popen(
        [sys.executable, "demo/run.py"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert demo.stdout is not None
    printed = ""
    while "listens on" not in printed:
        line = demo.stdout.readline()
        assert line, printed
        printed += line
    demo.terminate()
    demo.communicate(timeout=TIMEOUT_S)
    assert demo.returncode == 128 + signal.SIGTERM
    assert_nothing_listens(printed)
    assert not list(tmp_path.glob("rag-demo-*"))


def test_demo_unreadable_documents_ends_with_an_error_and_no_server(tmp_path: Path) -> None:
    (tmp_path / "empty.md").write_text("", encoding="utf-8")
    result = run_demo("--docs", str(tmp_path))
    assert result.returncode == 1
    assert "DOCUMENT_EMPTY" in result.stdout + result.stderr
    assert_nothing_listens(result.stdout)
