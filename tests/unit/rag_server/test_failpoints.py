from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from rag_server.failpoints import parse

PROGRAM = """
from rag_server.failpoints import failpoint, step
for number in range(3):
    print(number, flush=True)
    with step("work"):
        failpoint("inside")
"""


def run(value: str) -> tuple[int, list[str]]:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "RAG_FAILPOINT": value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout.split()


@pytest.mark.parametrize(("value", "seen"), [("work.before", 1), ("work.after:2", 2), ("inside:3", 3)])
def test_failpoint_ends_the_process_at_its_place_and_time(value: str, seen: int) -> None:
    code, lines = run(value)
    assert code == -signal.SIGKILL
    assert len(lines) == seen


@pytest.mark.parametrize("value", ["", "elsewhere", "inside:4"])
def test_failpoint_that_is_not_reached_does_nothing(value: str) -> None:
    assert run(value) == (0, ["0", "1", "2"])


def test_parse_of_no_number_is_the_first_time() -> None:
    assert parse("fetch.before") == ("fetch.before", 1)
    with pytest.raises(ValueError, match="often"):
        parse("fetch.before:often")
