from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rag_server.data_folder import locked


def run(**variables: str) -> subprocess.CompletedProcess[str]:
    """Run the server with the settings given; it has to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "rag_server"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        ({"RAG_SERVER__PORT": "hunter2"}, "RAG_SERVER__PORT"),
        ({"RAG_CONFIG_FILE": "no-such-hunter2.toml"}, "RAG_CONFIG_FILE"),
    ],
)
def test_main_with_wrong_settings_exits_2_and_names_them(variables: dict[str, str], shown: str) -> None:
    ended = run(**variables)
    assert ended.returncode == 2
    assert shown in ended.stderr
    assert "hunter2" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_main_that_cannot_start_exits_1_with_the_reason(tmp_path: Path) -> None:
    with locked(tmp_path):
        ended = run(RAG_STORAGE__DATA_DIR=str(tmp_path), RAG_SERVER__PORT="0", RAG_LOG__FORMAT="json")
    assert ended.returncode == 1
    assert '"reason": "DATA_DIR_IN_USE"' in ended.stderr
    assert "Traceback" not in ended.stderr
