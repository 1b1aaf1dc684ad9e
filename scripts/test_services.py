#!/usr/bin/env python3
"""Start what the tests need and does not answer yet: PostgreSQL, RabbitMQ, Redis.

Those that answer are left as they are. For the others, in this order: containers, where Docker has an engine;
the programs that are installed; the packages of Debian, where this runs as root; else it says what to do and
exits with 1. RAG_TEST_POSTGRES_URL, RAG_TEST_AMQP_URL and RAG_TEST_REDIS_URL name servers elsewhere, which
have to run already. Standard library only.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rag_server.testing.postgres_server import PostgresServer, find_programs  # noqa: E402

COMPOSE_FILE = ROOT / "tests" / "docker-compose.yml"
START_TIMEOUT_S = 90.0
_PROBE_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class Service:
    """A server that the tests talk to."""

    name: str
    """As in the compose file."""
    variable: str
    default_url: str
    default_port: int
    greeting: bytes
    """What is sent to it; a server of this kind answers with one of `answers`, whoever asks."""
    answers: tuple[bytes, ...]
    package: str
    program: str

    def url(self, environment: Mapping[str, str]) -> str:
        """Return where the tests will look for it."""
        return environment.get(self.variable) or self.default_url

    def is_elsewhere(self, environment: Mapping[str, str]) -> bool:
        """Whether somebody said where it is: then it is theirs to start."""
        return self.url(environment) != self.default_url


SERVICES = (
    Service(
        "postgresql",
        "RAG_TEST_POSTGRES_URL",
        "postgresql://postgres@127.0.0.1:5432",
        5432,
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",  # SSLRequest
        (b"S", b"N"),
        "postgresql",
        "initdb",
    ),
    Service(
        "rabbitmq",
        "RAG_TEST_AMQP_URL",
        "amqp://guest:guest@127.0.0.1:5672/",
        5672,
        b"AMQP\x00\x00\x09\x01",
        (b"\x01",),  # a method frame: Connection.Start
        "rabbitmq-server",
        "rabbitmq-server",
    ),
    Service(
        "redis",
        "RAG_TEST_REDIS_URL",
        "redis://127.0.0.1:6379/0",
        6379,
        b"PING\r\n",
        (b"+", b"-NOAUTH"),
        "redis-server",
        "redis-server",
    ),
)


def answers(service: Service, url: str, *, timeout_s: float = _PROBE_TIMEOUT_S) -> bool:
    """Whether a server of this kind answers there."""
    parts = urlsplit(url)
    try:
        address = (parts.hostname or "127.0.0.1", parts.port or service.default_port)
        with socket.create_connection(address, timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(service.greeting)
            return connection.recv(64).startswith(service.answers)
    except (OSError, ValueError):
        return False


@dataclass(frozen=True)
class Machine:
    """What there is to start servers with."""

    has_containers: bool
    installed: frozenset[str]
    """Names of the services whose programs are there."""
    is_root: bool
    has_apt: bool


@dataclass(frozen=True)
class Plan:
    """What to do about the services that do not answer; `problems` mean that nothing is done."""

    compose: tuple[str, ...] = ()
    install: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def plan(missing: Sequence[Service], environment: Mapping[str, str], machine: Machine) -> Plan:
    """Decide how to start the services that are missing."""
    problems = [
        f"{service.name} does not answer where {service.variable} says; start it, or unset the variable"
        for service in missing
        if service.is_elsewhere(environment)
    ]
    if problems:
        return Plan(problems=tuple(problems))
    names = tuple(service.name for service in missing)
    if machine.has_containers:
        return Plan(compose=names)
    # RabbitMQ's own start script insists on root
    startable = machine.installed if machine.is_root else machine.installed - {"rabbitmq"}
    to_install = tuple(service.package for service in missing if service.name not in machine.installed)
    if set(names) <= startable:
        return Plan(start=names)
    if machine.is_root and machine.has_apt:
        return Plan(install=to_install, start=names)
    return Plan(
        problems=tuple(
            f"{service.name} does not answer at {service.default_url}; start a Docker engine, or run"
            f" `sudo {sys.executable} {Path(__file__).name}` on Debian or Ubuntu,"
            f" or point {service.variable} to a server of yours"
            for service in missing
            if service.name not in startable
        )
    )


def this_machine() -> Machine:
    """Look at what there is."""
    installed = {service.name for service in SERVICES if shutil.which(service.program)}
    if find_programs() is not None:
        installed.add("postgresql")
    return Machine(
        has_containers=_succeeds("docker", "info") and _succeeds("docker", "compose", "version"),
        installed=frozenset(installed),
        is_root=os.geteuid() == 0,
        has_apt=shutil.which("apt-get") is not None,
    )


def carry_out(todo: Plan) -> None:
    """Do it. Raises `CalledProcessError` when a step fails."""
    if todo.compose:
        command = ["docker", "compose", "-f", str(COMPOSE_FILE), "up", "-d", "--wait", *todo.compose]
        subprocess.run(command, check=True)
    if todo.install:
        # a package is not to start its service: ours trusts loopback, the package's does not
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        install = ["install", "-qq", "-y", "--no-install-recommends", *todo.install]
        for arguments in (["update", "-qq"], install):
            command = ["apt-get", *arguments]
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    for name in todo.start:
        _STARTERS[name]()


def _start_postgresql() -> None:
    programs = find_programs()
    assert programs is not None
    server = PostgresServer(programs, _folder("postgresql"), 5432, options=["max_connections=200"])
    server.create()
    server.start()


def _start_rabbitmq() -> None:
    subprocess.run(["rabbitmq-server", "-detached"], check=True, cwd="/", stdout=subprocess.DEVNULL)


def _start_redis() -> None:
    options = ["--bind", "127.0.0.1", "--daemonize", "yes", "--save", "", "--appendonly", "no"]
    subprocess.run(
        ["redis-server", *options, "--dir", str(_folder("redis"))], check=True, stdout=subprocess.DEVNULL
    )


_STARTERS = {"postgresql": _start_postgresql, "rabbitmq": _start_rabbitmq, "redis": _start_redis}


def _folder(name: str) -> Path:
    folder = Path(f"/var/tmp/rag-server-tests-{os.geteuid()}") / name  # noqa: S108 - mode 700, made by us
    folder.parent.mkdir(mode=0o711, exist_ok=True)
    if folder.parent.stat().st_uid != os.geteuid():
        raise PermissionError(f"{folder.parent} belongs to somebody else")
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _succeeds(*command: str) -> bool:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def main() -> int:
    """Start what is missing; return the exit code."""
    missing = [service for service in SERVICES if not answers(service, service.url(os.environ))]
    if not missing:
        return 0
    todo = plan(missing, os.environ, this_machine())
    for problem in todo.problems:
        print(problem, file=sys.stderr)
    if todo.problems:
        return 1
    print(f"starting for the tests: {', '.join(service.name for service in missing)}")
    try:
        carry_out(todo)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"could not start what the tests need: {error}", file=sys.stderr)
        return 1
    deadline = time.monotonic() + START_TIMEOUT_S
    while missing and time.monotonic() < deadline:
        missing = [service for service in missing if not answers(service, service.default_url)]
        time.sleep(0.2 if missing else 0)
    for service in missing:
        print(f"{service.name} was started and does not answer at {service.default_url}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
