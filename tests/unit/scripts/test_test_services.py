"""What `scripts/test_services.py` decides, and that it does what it decided."""

from __future__ import annotations

import importlib.util
import os
import re
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rag_test_services", ROOT / "scripts" / "test_services.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look for their module there
    spec.loader.exec_module(module)
    return module


services = _load()
POSTGRESQL, RABBITMQ, REDIS = services.SERVICES
ALL = frozenset({"postgresql", "rabbitmq", "redis"})


def machine(
    *, containers: bool = False, installed: frozenset[str] = frozenset(), root: bool = False, apt: bool = True
) -> object:
    return services.Machine(containers, installed, root, apt)


def test_plan_with_an_engine_takes_containers_for_what_is_missing_alone() -> None:
    found = services.plan([POSTGRESQL, REDIS], {}, machine(containers=True, installed=ALL, root=True))
    assert found == services.Plan(compose=("postgresql", "redis"))


def test_plan_without_an_engine_starts_what_is_installed() -> None:
    found = services.plan([POSTGRESQL, RABBITMQ], {}, machine(installed=ALL, root=True))
    assert found == services.Plan(start=("postgresql", "rabbitmq"))


def test_plan_of_root_on_debian_installs_what_is_not_there() -> None:
    found = services.plan([POSTGRESQL, RABBITMQ], {}, machine(installed=frozenset({"postgresql"}), root=True))
    assert found == services.Plan(install=("rabbitmq-server",), start=("postgresql", "rabbitmq"))


def test_plan_of_a_user_starts_what_a_user_may() -> None:
    found = services.plan([POSTGRESQL, REDIS], {}, machine(installed=ALL))
    assert found == services.Plan(start=("postgresql", "redis"))


@pytest.mark.parametrize(
    "given",
    [
        machine(installed=ALL),  # RabbitMQ is root's to start
        machine(root=True, apt=False),
        machine(),
    ],
)
def test_plan_without_any_way_says_what_to_do_and_does_nothing(given: object) -> None:
    found = services.plan([RABBITMQ], {}, given)
    assert (found.compose, found.install, found.start) == ((), (), ())
    (problem,) = found.problems
    for part in ("rabbitmq", "Docker", "sudo", "RAG_TEST_AMQP_URL"):
        assert part in problem


def test_plan_leaves_servers_elsewhere_to_whoever_named_them() -> None:
    environment = {"RAG_TEST_REDIS_URL": "redis://elsewhere:1"}
    found = services.plan([POSTGRESQL, REDIS], environment, machine(containers=True))
    assert (found.compose, found.install, found.start) == ((), (), ())
    (problem,) = found.problems
    assert "RAG_TEST_REDIS_URL" in problem


@contextmanager
def server(answer: Callable[[bytes], bytes]) -> Iterator[int]:
    """Run a server that answers each greeting; return its port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(answer(self.request.recv(64)))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        yield int(listening.server_address[1])
        listening.shutdown()


GOOD = {"postgresql": b"N", "rabbitmq": b"\x01\x00\x00", "redis": b"+PONG\r\n"}


@pytest.mark.parametrize("service", services.SERVICES, ids=lambda service: service.name)
def test_answers_tells_its_own_kind_from_another_from_none(service: services.Service) -> None:
    def answer(greeting: bytes) -> bytes:
        return GOOD[service.name] if greeting == service.greeting else b""

    with server(answer) as port:
        assert services.answers(service, f"x://user:secret@127.0.0.1:{port}/name")
    assert not services.answers(service, f"x://127.0.0.1:{port}", timeout_s=0.5)
    for other in (b"", b"HTTP/1.1 400 Bad Request\r\n"):
        with server(lambda _, other=other: other) as port:  # type: ignore[misc]
            assert not services.answers(service, f"x://127.0.0.1:{port}")
    assert not services.answers(service, "x://127.0.0.1:no-port")


def test_answers_from_the_servers_that_these_tests_run_against() -> None:
    from tests.databases import POSTGRES_URL

    assert services.answers(POSTGRESQL, POSTGRES_URL)


@pytest.fixture
def only_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a folder in which alone programs are found; each says what it was called with."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_main_starts_nothing_when_all_answer(
    monkeypatch: pytest.MonkeyPatch, only_environment: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with ExitStack() as stack:
        for service in services.SERVICES:
            port = stack.enter_context(server(lambda _, name=service.name: GOOD[name]))  # type: ignore[misc]
            monkeypatch.setenv(service.variable, f"x://127.0.0.1:{port}")
        assert services.main() == 0
    assert capfd.readouterr().out == ""


def test_main_with_a_server_elsewhere_that_is_down_fails_and_names_it(
    monkeypatch: pytest.MonkeyPatch, only_environment: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for service in services.SERVICES:
        monkeypatch.setenv(service.variable, "x://user:secret@127.0.0.1:1")
    assert services.main() == 1
    errors = capfd.readouterr().err
    for service in services.SERVICES:
        assert service.variable in errors
    assert "secret" not in errors


def _program(folder: Path, name: str, *, code: int = 0) -> None:
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "{name} $*" >> {folder}/calls\nexit {code}\n')
    path.chmod(0o755)


def test_carry_out_containers_waits_for_those_of_the_plan(only_environment: Path) -> None:
    _program(only_environment, "docker")
    services.carry_out(services.Plan(compose=("redis", "rabbitmq")))
    called = (only_environment / "calls").read_text()
    assert called == f"docker compose -f {ROOT}/tests/docker-compose.yml up -d --wait redis rabbitmq\n"


def test_carry_out_installs_without_a_question(only_environment: Path) -> None:
    _program(only_environment, "apt-get")
    services.carry_out(services.Plan(install=("redis-server",)))
    update, install = (only_environment / "calls").read_text().splitlines()
    assert update == "apt-get update -qq"
    assert install == "apt-get install -qq -y --no-install-recommends redis-server"


def test_main_step_that_fails_is_told(
    monkeypatch: pytest.MonkeyPatch, only_environment: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(services, "answers", lambda *_, **__: False)
    monkeypatch.setattr(services, "this_machine", lambda: machine(containers=True))
    _program(only_environment, "docker", code=3)
    assert services.main() == 1
    assert "could not start" in capfd.readouterr().err


def test_this_machine_needs_an_engine_not_only_the_program(only_environment: Path) -> None:
    assert not services.this_machine().has_containers
    _program(only_environment, "docker", code=1)
    assert not services.this_machine().has_containers
    _program(only_environment, "docker")
    found = services.this_machine()
    assert found.has_containers
    assert (found.is_root, found.has_apt) == (os.geteuid() == 0, False)


def test_compose_file_offers_each_service_where_the_tests_look() -> None:
    text = services.COMPOSE_FILE.read_text()
    for service in services.SERVICES:
        assert re.search(rf"^  {service.name}:$", text, re.MULTILINE)
        assert f'["127.0.0.1:{service.default_port}:{service.default_port}"]' in text
        assert f":{service.default_port}" in service.default_url
    assert text.count("healthcheck:") == len(services.SERVICES)


def test_make_test_starts_what_is_missing() -> None:
    recipe = (ROOT / "Makefile").read_text().split("\ntest:")[1].split("\n\n")[0].splitlines()
    assert "scripts/test_services.py" in recipe[1]
    assert "pytest" in recipe[2]
