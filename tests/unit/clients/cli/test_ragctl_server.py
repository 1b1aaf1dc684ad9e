from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1.health_pb2 import HealthCheckResponse

from rag.v1.admin_service_pb2 import ComponentHealth, EmbeddingModelInfo, GetServerInfoResponse
from rag.v1.retriever_pb2 import CacheInfo, DenseMethod, LoadSource, RetrieverInfo, RetrieverState
from ragctl import machine_checks, storage_checks
from ragctl.findings import Level
from ragctl.output import shown_size
from ragctl.server_commands import SERVICES
from tests.unit.clients.cli.ragctl_fake_server import FakeRag, refusal

SERVING = HealthCheckResponse.ServingStatus.Value("SERVING")
NOT_SERVING = HealthCheckResponse.ServingStatus.Value("NOT_SERVING")
MEBIBYTE = 1024 * 1024


@pytest.fixture(autouse=True)
def healthy(rag: FakeRag) -> None:
    rag.health = dict.fromkeys(("", *SERVICES), SERVING)
    rag.info = GetServerInfoResponse(
        version="1.2.3",
        embedding_model=EmbeddingModelInfo(id="mini", dimension=384, window_tokens=256),
        components=[ComponentHealth(name="embedder", is_serving=True)],
    )


def test_info_shows_version_model_and_parts(run: Any) -> None:
    shown = run("info").stdout
    for text in ("1.2.3", "mini (384 dimensions, window 256 tokens)", "embedder", "works"):
        assert text in shown


def test_info_shows_rerankers_what_is_in_memory_and_caches(run: Any, rag: FakeRag) -> None:
    rag.info.rerankers.extend(["late_interaction", "cross_encoder:tiny"])
    rag.info.retrievers.append(
        RetrieverInfo(
            collection_id="docs",
            state=RetrieverState.RETRIEVER_STATE_CATCHING_UP,
            revision=7,
            chunk_count=2000,
            size_bytes=3 * MEBIBYTE // 2,
            query_count=41,
            store_query_count=3,
            dense_method=DenseMethod.DENSE_METHOD_EXACT,
            build_duration_ms=250,
            load_source=LoadSource.LOAD_SOURCE_SNAPSHOT,
            build_time=Timestamp(seconds=1_700_000_000),
        )
    )
    rag.info.retrievers.append(
        RetrieverInfo(collection_id="news", state=RetrieverState.RETRIEVER_STATE_BUILDING)
    )
    rag.info.caches.append(
        CacheInfo(name="results", entry_count=5, size_bytes=512, limit_bytes=2**31, hit_count=3, miss_count=1)
    )
    rag.info.caches.append(CacheInfo(name="embeddings"))
    lines = [" ".join(line.split()) for line in run("info").stdout.splitlines()]
    assert "rerankers late_interaction, cross_encoder:tiny" in lines
    (docs,) = (line for line in lines if line.startswith("docs"))
    assert docs.startswith("docs catching up 7 2000 1.5 MiB 41 3 exact snapshot in 250 ms 2023-11-1")
    assert "news building 0 0 0 bytes 0 0" in lines
    assert "results 5 512 bytes 2.0 GiB 3 1 75%" in lines
    assert "embeddings 0 0 bytes 0 bytes 0 0" in lines


def test_info_of_a_server_with_nothing_in_memory_shows_no_tables_of_it(run: Any) -> None:
    shown = run("info").stdout
    assert "in memory" not in shown
    assert "cache" not in shown


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (MEBIBYTE, "1.0 MiB"), (2**41, "2048.0 GiB")],
)
def test_size_is_shown_in_the_greatest_unit_that_fits(size_bytes: int, text: str) -> None:
    assert shown_size(size_bytes) == text


def test_services_are_those_of_the_contract() -> None:
    assert {each.rpartition(".")[2] for each in SERVICES} == {
        "CollectionService", "IngestService", "DocumentService",
        "RetrieveService", "GenerateService", "ConversationService", "AssistantService",
        "AdminService",
    }  # fmt: skip


def test_health_of_all_services_succeeds(run: Any, json_of: Any) -> None:
    services = json_of(run("health", "--json"))["services"]
    assert len(services) == 9
    assert {each["status"] for each in services} == {"SERVING"}


def test_health_with_a_service_that_does_not_serve_gives_exit_code_1(run: Any, rag: FakeRag) -> None:
    rag.health["rag.v1.RetrieveService"] = NOT_SERVING
    result = run("health")
    assert result.exit_code == 1
    assert "NOT_SERVING" in result.stdout
    assert run("health", "rag.v1.IngestService").exit_code == 0


def test_health_of_an_unknown_service_gives_exit_code_1(run: Any) -> None:
    result = run("health", "rag.v1.Nothing")
    assert result.exit_code == 1
    assert "SERVICE_UNKNOWN" in result.stdout


def test_health_watch_shows_each_change(run: Any, rag: FakeRag) -> None:
    rag.health["watched"] = [SERVING, NOT_SERVING]
    assert run("health", "--watch").stdout.splitlines() == ["(server) SERVING", "(server) NOT_SERVING"]
    lines = run("health", "watched", "--watch", "--json").stdout.splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["SERVING", "NOT_SERVING"]


def _levels(result: Any) -> dict[str, str]:
    return {each["check"]: each["level"] for each in json.loads(result.stdout)["findings"]}


def test_doctor_with_a_healthy_server_finds_nothing_wrong(run: Any, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.onnx").write_bytes(b"x")
    options = ["--data-dir", str(tmp_path / "data"), "--model-cache", str(tmp_path / "models")]
    result = run("doctor", *options, "--json")
    levels = _levels(result)
    for check in ("python", "model", "data folder", "data lock", "port", "server", "part embedder", "health"):
        assert levels[check] == "ok", check
    shown = run("doctor", *options).stdout
    assert "version 1.2.3" in shown


def test_doctor_with_a_part_that_is_down_fails(run: Any, rag: FakeRag, tmp_path: Path) -> None:
    rag.info.components[0].is_serving = False
    rag.health["rag.v1.RetrieveService"] = NOT_SERVING
    result = run("doctor", "--data-dir", str(tmp_path), "--json")
    assert result.exit_code == 1
    assert _levels(result)["part embedder"] == "fail"
    assert _levels(result)["health"] == "fail"


def test_doctor_without_a_server_warns_and_says_how_to_start_one(
    run: Any, unused_address: str, tmp_path: Path
) -> None:
    result = run("doctor", "--data-dir", str(tmp_path), server=unused_address)
    assert "ragctl serve" in result.stdout
    levels = _levels(run("doctor", "--data-dir", str(tmp_path), "--json", server=unused_address))
    assert (levels["port"], levels["server"]) == ("ok", "warn")


def test_doctor_with_another_server_on_the_port_fails(run: Any, rag: FakeRag, tmp_path: Path) -> None:
    rag.refusals["GetServerInfo"].append(refusal(grpc.StatusCode.UNIMPLEMENTED, "unknown method"))
    result = run("doctor", "--data-dir", str(tmp_path), "--json")
    assert result.exit_code == 1
    assert _levels(result)["port"] == "fail"


def test_doctor_with_a_program_that_is_no_grpc_server_fails(run: Any, tmp_path: Path) -> None:
    import threading

    def refuse(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=refuse, args=(listener,))
        thread.start()
        server = f"127.0.0.1:{listener.getsockname()[1]}"
        result = run("doctor", "--data-dir", str(tmp_path), "--json", server=server)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert result.exit_code == 1
    assert _levels(result)["port"] == "fail"


def test_doctor_with_a_server_that_fails_says_so(run: Any, rag: FakeRag, tmp_path: Path) -> None:
    rag.refusals["GetServerInfo"].append(refusal(grpc.StatusCode.INTERNAL, "oops", reason="INTERNAL"))
    result = run("doctor", "--data-dir", str(tmp_path), "--json")
    assert _levels(result)["port"] == "ok"
    assert _levels(result)["server"] == "fail"


def test_check_python_knows_the_supported_versions() -> None:
    assert machine_checks.check_python((3, 11, 0)).level is Level.OK
    assert machine_checks.check_python((3, 10, 9)).level is Level.FAIL
    assert machine_checks.check_python((3, 14, 0)).level is Level.FAIL


def test_available_memory_is_the_least_of_machine_and_container(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    4096 kB\n")
    assert machine_checks.available_memory_bytes(tmp_path) == 4096 * 1024
    cgroup = tmp_path / "sys/fs/cgroup"
    cgroup.mkdir(parents=True)
    (cgroup / "memory.max").write_text("3000000\n")
    (cgroup / "memory.current").write_text("1000000\n")
    assert machine_checks.available_memory_bytes(tmp_path) == 2_000_000
    (cgroup / "memory.max").write_text("max\n")
    assert machine_checks.available_memory_bytes(tmp_path) == 4096 * 1024


@pytest.mark.parametrize(("mebibytes", "level"), [(100, Level.FAIL), (800, Level.WARN), (4000, Level.OK)])
def test_check_memory_has_two_thresholds(mebibytes: int, level: Level) -> None:
    assert machine_checks.check_memory(mebibytes * MEBIBYTE).level is level


def test_check_memory_that_is_unknown_warns() -> None:
    assert machine_checks.check_memory(None).level is Level.WARN


@pytest.mark.parametrize(("mebibytes", "level"), [(10, Level.FAIL), (800, Level.WARN), (4000, Level.OK)])
def test_check_disk_has_two_thresholds(tmp_path: Path, mebibytes: int, level: Level) -> None:
    assert storage_checks.check_disk(tmp_path / "a" / "b", mebibytes * MEBIBYTE).level is level
    assert "MiB free" in storage_checks.check_disk(tmp_path / "a" / "b").detail


def test_check_packages_names_what_is_missing() -> None:
    finding = machine_checks.check_packages(["grpcio", "no-such-distribution"])
    assert finding.level is Level.FAIL
    assert finding.detail == "missing: no-such-distribution"
    assert "grpcio" in machine_checks.required_packages()


def test_check_model_accepts_an_export_or_the_package(tmp_path: Path) -> None:
    assert machine_checks.check_model(tmp_path, "no_such_package").level is Level.FAIL
    assert machine_checks.check_model(tmp_path, "json").level is Level.OK
    (tmp_path / "x").mkdir()
    (tmp_path / "x/model.onnx").write_bytes(b"")
    assert machine_checks.check_model(tmp_path, "no_such_package").level is Level.OK


def test_default_model_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAG_EMBEDDING__CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert machine_checks.default_model_cache() == tmp_path / "rag-server" / "models"
    monkeypatch.setenv("RAG_EMBEDDING__CACHE_DIR", str(tmp_path / "own"))
    assert machine_checks.default_model_cache() == tmp_path / "own"


def test_check_data_dir_refuses_a_file_and_accepts_what_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert storage_checks.check_data_dir(tmp_path / "file").level is Level.FAIL
    assert "can be made" in storage_checks.check_data_dir(tmp_path / "new" / "deep").detail
    assert "can be written" in storage_checks.check_data_dir(tmp_path).detail


def test_check_data_dir_that_cannot_be_written_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ragctl.storage_checks.tempfile.TemporaryFile", refuse)
    finding = storage_checks.check_data_dir(tmp_path)
    assert finding.level is Level.FAIL
    assert "Permission denied" in finding.detail


def _locks(tmp_path: Path, locked: Path, pid: int) -> Path:
    status = locked.stat()
    name = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    locks = tmp_path / "locks"
    locks.write_text(
        f"1: FLOCK  ADVISORY  WRITE {pid} {name} 0 EOF\n"
        f"1: -> FLOCK  ADVISORY  WRITE 999 {name} 0 EOF\n"
        "2: POSIX  ADVISORY  READ 7 00:00:1 0 EOF\n"
    )
    return locks


def test_check_lock_names_the_process_that_has_the_data(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "rag.db").write_text("")
    locks = _locks(tmp_path, data / "rag.db", 4321)
    away = storage_checks.check_lock(data, is_served=False, locks_file=locks)
    assert away.level is Level.WARN
    assert "process 4321," in away.detail
    assert storage_checks.check_lock(data, is_served=True, locks_file=locks).level is Level.OK


def test_check_lock_without_holders_or_data_is_fine(tmp_path: Path) -> None:
    (tmp_path / "rag.db").write_text("")
    (tmp_path / "locks").write_text("")
    assert (
        storage_checks.check_lock(tmp_path, is_served=False, locks_file=tmp_path / "locks").level is Level.OK
    )
    assert storage_checks.check_lock(tmp_path / "none", is_served=False).level is Level.OK


def test_check_lock_where_the_system_does_not_tell_warns(tmp_path: Path) -> None:
    finding = storage_checks.check_lock(tmp_path, is_served=False, locks_file=tmp_path / "none")
    assert finding.level is Level.WARN


def test_serve_becomes_the_server_with_its_options_in_the_environment(tmp_path: Path) -> None:
    package = tmp_path / "rag_server"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(
        "import json, os, sys\n"
        "print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('RAG_')}))\n"
        "sys.exit(7)\n"
    )
    path = os.pathsep.join([str(tmp_path), *(each for each in sys.path if each)])
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAG_")}
    result = subprocess.run(
        [sys.executable, "-m", "ragctl", "serve", "--host", "::1", "--port", "0", "--data-dir", "d"],
        env={**environment, "PYTHONPATH": path, "RAG_LOG__LEVEL": "ERROR"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 7, result.stderr
    assert json.loads(result.stdout) == {
        "RAG_SERVER__HOST": "::1",
        "RAG_SERVER__PORT": "0",
        "RAG_STORAGE__DATA_DIR": "d",
        "RAG_LOG__LEVEL": "ERROR",
    }


def test_serve_without_the_server_says_so(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragctl.serve.SERVER_MODULE", "no_such_server")
    result = run("serve")
    assert result.exit_code == 1
    assert "SERVER_NOT_INSTALLED" in result.stderr


def test_completion_offers_the_commands(run: Any) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
    result = subprocess.run(
        [sys.executable, "-c", "from ragctl.main import app; app(prog_name='ragctl')"],
        env={
            **environment,
            "_RAGCTL_COMPLETE": "complete_bash",
            "COMP_WORDS": "ragctl se",
            "COMP_CWORD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.stdout.split() == ["serve", "search"]
