"""`make demo-distributed` loses nothing when a worker is killed, and would say so if it did."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from demo.distributed import DemoError, check
from rag.v1 import admin_service_pb2 as admin_pb
from rag.v1 import ingest_service_pb2 as ingest_pb

ROOT = Path(__file__).resolve().parents[2]
COUNT = 12
SUCCEEDED, FAILED = ingest_pb.JOB_STATE_SUCCEEDED, ingest_pb.JOB_STATE_FAILED


def run_demo(**variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "demo/distributed.py", "--documents", str(COUNT)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
        env={**os.environ, **variables},
    )


@pytest.mark.timeout(600)
def test_demo_kills_a_worker_and_loses_nothing() -> None:
    done = run_demo()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "worker 1 is killed" in done.stdout
    assert f"{COUNT} of {COUNT} jobs succeeded; {COUNT} documents" in done.stdout
    assert done.stdout.endswith("nothing was lost, nothing is there twice\n")


@pytest.mark.parametrize(
    ("variable", "url", "missing"),
    [
        ("RAG_TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:9", "no PostgreSQL answers"),
        ("RAG_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:9/", "no RabbitMQ answers"),
    ],
)
def test_demo_says_what_is_missing(variable: str, url: str, missing: str) -> None:
    done = run_demo(**{variable: url})
    assert done.returncode == 1
    assert f"demo-distributed: {missing}" in done.stderr
    assert "Traceback" not in done.stderr


def job(state: ingest_pb.JobState.ValueType = SUCCEEDED) -> ingest_pb.Job:
    return ingest_pb.Job(state=state, progress=ingest_pb.JobProgress(chunk_count=3))


@pytest.mark.parametrize(
    ("jobs", "summary"),
    [
        ([job(), job(FAILED)], admin_pb.ReconcileSummary(document_count=2, chunk_count=6)),
        ([job(), job()], admin_pb.ReconcileSummary(document_count=1, chunk_count=6)),
        ([job(), job()], admin_pb.ReconcileSummary(document_count=2, chunk_count=6, finding_count=1)),
        ([job(), job()], admin_pb.ReconcileSummary(document_count=2, chunk_count=7)),
    ],
)
def test_check_notices_what_is_lost_or_left_over(
    jobs: list[ingest_pb.Job], summary: admin_pb.ReconcileSummary
) -> None:
    with pytest.raises(DemoError):
        check(jobs, summary, 2)


def test_check_takes_what_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    check([job(), job()], admin_pb.ReconcileSummary(document_count=2, chunk_count=6), 2)
    assert "nothing was lost" in capsys.readouterr().out
