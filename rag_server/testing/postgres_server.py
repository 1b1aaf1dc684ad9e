"""A PostgreSQL server of one's own, which tests may stop, kill and restart. Standard library only."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

_INSTALLED = "/usr/lib/postgresql"
_ACCOUNT = "postgres"
_START_TIMEOUT_S = "60"


def find_programs() -> Path | None:
    """Return the folder that holds `initdb` and `pg_ctl`, of the newest version; None: there is none."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    versions = [folder for folder in Path(_INSTALLED).glob("*/bin") if (folder / "initdb").exists()]
    return max(versions, key=lambda folder: float(folder.parent.name), default=None)


class PostgresServer:
    """A cluster in `folder` that listens on loopback, trusts everybody there, and is not made to last.

    PostgreSQL refuses to run as root: root's server runs as the account `postgres`.
    """

    def __init__(self, programs: Path, folder: Path, port: int, *, options: Sequence[str] = ()) -> None:
        self._programs = programs
        self._folder = folder
        self._port = port
        self._options = ("fsync=off", *options)

    @property
    def url(self) -> str:
        """The server's URL, without a database."""
        return f"postgresql://{_ACCOUNT}@127.0.0.1:{self._port}"

    def create(self) -> None:
        """Make the cluster, unless it is there. Raises `CalledProcessError`."""
        if (self._folder / "PG_VERSION").exists():
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            account = pwd.getpwnam(_ACCOUNT)
            os.chown(self._folder, account.pw_uid, account.pw_gid)
        self._folder.chmod(0o700)
        self._run(
            "initdb", "--auth=trust", f"--username={_ACCOUNT}", "--encoding=UTF8", "--locale=C", "--no-sync"
        )

    def start(self) -> None:
        """Start the server and wait until it answers. Raises `CalledProcessError`."""
        settings = [
            f"port={self._port}",
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            *self._options,
        ]
        options = " ".join(f"-c {setting}" for setting in settings)
        log = str(self._folder / "server.log")
        self._run("pg_ctl", "start", "--wait", f"--timeout={_START_TIMEOUT_S}", f"--log={log}", "-o", options)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: `fast` ends its sessions, `immediate` is as a crash. Nothing if it is stopped."""
        if self.is_running():
            self._run("pg_ctl", "stop", "--wait", f"--timeout={_START_TIMEOUT_S}", f"--mode={mode}")

    def is_running(self) -> bool:
        """Whether the server runs."""
        return (self._folder / "postmaster.pid").exists()

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", str(self._folder), *arguments]
        if os.geteuid() == 0:
            command = ["setpriv", f"--reuid={_ACCOUNT}", f"--regid={_ACCOUNT}", "--init-groups", *command]
        # pg_ctl leaves the server running, with its output: a pipe would never end
        subprocess.run(
            command, check=True, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=120
        )
