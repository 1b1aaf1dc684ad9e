"""docker-compose.yml: complete, with settings that exist, and nothing published beyond this machine.

That docker compose can read it, `make compose` checks.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rag_server.config import Settings

ROOT = Path(__file__).resolve().parents[3]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(
    (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
)["services"]
ENDS_BY_ITSELF = {"buckets"}
OURS = ("server", "worker")


def test_compose_has_all_parts_of_the_distributed_set_up() -> None:
    assert {*OURS, "rabbitmq", "postgresql", "milvus", "etcd", "minio", "redis"} <= SERVICES.keys()


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - ENDS_BY_ITSELF))
def test_compose_service_has_a_health_check_and_comes_back(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_compose_service_waits_for_what_it_needs_by_its_health(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        wanted = "service_completed_successfully" if needed in ENDS_BY_ITSELF else "service_healthy"
        assert how == {"condition": wanted}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_compose_image_is_of_one_version(name: str) -> None:
    tag = SERVICES[name]["image"].rpartition(":")[2]
    assert tag == "local" or re.search(r"\d", tag)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_compose_publishes_on_the_loopback_interface_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", OURS)
def test_compose_sets_what_the_settings_know(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = SERVICES[name]["environment"]
    named = {variable for variable in environment if variable.startswith("RAG_")}
    known = {
        f"RAG_{group}__{field}".upper()
        for group, info in Settings.model_fields.items()
        for field in info.annotation.model_fields  # type: ignore[union-attr]  # groups are models
    }
    assert named <= known
    for variable in named:
        # what compose would fill in: the default of `${NAME:-default}`
        value = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", environment[variable])
        monkeypatch.setenv(variable, value)
    settings = Settings()
    assert settings.database.url
    assert settings.queue.url
    assert settings.milvus.uri == "http://milvus:19530"
    assert settings.storage.blob_url == "s3://rag/documents"


def test_compose_servers_and_workers_share_all_settings() -> None:
    assert SERVICES["server"]["environment"] == SERVICES["worker"]["environment"]
