"""`ragctl serve`: becomes the server."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ragctl.connection import MAX_PORT
from ragctl.errors import CommandFailed, Problem
from ragctl.options import command
from ragctl.session import Session

SERVER_MODULE = "rag_server"


@command
def serve(
    session: Session,
    host: Annotated[
        str | None,
        typer.Option("--host", help="Address to listen on (RAG_SERVER__HOST).", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            min=0,
            max=MAX_PORT,
            help="TCP port, 0 for a free one (RAG_SERVER__PORT).",
            show_default=False,
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", help="Folder of the data (RAG_STORAGE__DATA_DIR).", show_default=False),
    ] = None,
) -> None:
    """Run the server in this process, until Ctrl-C or SIGTERM.

    The options become the environment variables in brackets; all other settings are read from the
    environment as ever.
    """
    if importlib.util.find_spec(SERVER_MODULE) is None:
        raise CommandFailed(Problem("SERVER_NOT_INSTALLED", "rag-server is not installed in this Python"))
    environment = dict(os.environ)
    if host is not None:
        environment["RAG_SERVER__HOST"] = host
    if port is not None:
        environment["RAG_SERVER__PORT"] = str(port)
    if data_dir is not None:
        environment["RAG_STORAGE__DATA_DIR"] = str(data_dir)
    session.close()
    sys.stdout.flush()
    sys.stderr.flush()
    # The server takes this process's place, so that signals and the exit code are its own.
    os.execve(  # noqa: S606 - our own interpreter with fixed arguments
        sys.executable, [sys.executable, "-m", SERVER_MODULE], environment
    )
