from __future__ import annotations

import os
import subprocess
import sys

import pytest


def run(**variables: str) -> subprocess.CompletedProcess[str]:
    """Run a worker with the settings given; it has to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "ingest_worker"],
        env={**os.environ, "RAG_LOG__FORMAT": "json", **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_worker_without_what_it_shares_with_servers_exits_1_and_names_the_settings() -> None:
    ended = run(RAG_MILVUS__URI="http://127.0.0.1:1")
    assert ended.returncode == 1
    assert '"reason": "SETTING_REQUIRED"' in ended.stderr
    assert "RAG_QUEUE__URL, RAG_DATABASE__URL" in ended.stderr
    assert "RAG_MILVUS__URI" not in ended.stderr


@pytest.mark.parametrize("url", ["http://hunter2@host/", "hunter2"])
def test_worker_with_another_kind_of_broker_exits_2_without_showing_it(url: str) -> None:
    ended = run(RAG_QUEUE__URL=url)
    assert ended.returncode == 2
    assert "RAG_QUEUE__URL" in ended.stderr
    assert "hunter2" not in ended.stderr
