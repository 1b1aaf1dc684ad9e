#!/usr/bin/env python3
"""Have docker compose read docker-compose.yml: `docker compose config`.

Taken is, in this order: the plugin of Docker, the program `docker-compose`, or the latter from Debian's
packages, where this runs as root; else it says what to do and exits with 1. No engine is needed. Standard
library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = ("docker-compose.yml", "tests/docker-compose.yml")
PACKAGE = "docker-compose"
_TIMEOUT_S = 300


def compose_command() -> list[str] | None:
    """Return the command that begins every call of compose; None: there is none."""
    if shutil.which("docker") and _succeeds(["docker", "compose", "version"]):
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    return None


def install() -> bool:
    """Install Debian's package where that is possible; return whether it is there now."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    print(f"installing {PACKAGE}, which reads docker-compose.yml", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    options = ["--quiet=2", "--yes", "--no-install-recommends"]
    for command in (["apt-get", "--quiet=2", "update"], ["apt-get", "install", *options, PACKAGE]):
        subprocess.run(command, env=environment, check=False, capture_output=True, timeout=_TIMEOUT_S)
        if shutil.which("docker-compose"):
            return True
    return False


def _succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, check=False, capture_output=True, timeout=_TIMEOUT_S).returncode == 0


def main() -> int:
    """Check the files; return the exit code."""
    command = compose_command()
    if command is None and install():
        command = compose_command()
    if command is None:
        print(
            "docker compose is needed to check docker-compose.yml: install Docker's compose plugin, or "
            f"Debian's package {PACKAGE}",
            file=sys.stderr,
        )
        return 1
    for file in FILES:
        read = subprocess.run(
            [*command, "--file", file, "config", "--quiet"], cwd=ROOT, check=False, timeout=_TIMEOUT_S
        )
        if read.returncode:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
