"""Servers with one database between them."""

from __future__ import annotations

from pathlib import Path

from rag_server.config import Settings
from tests import databases
from tests.conftest import make_settings


def two_settings(folder: Path, database: str) -> list[Settings]:
    """Return the settings of two servers that share a database and nothing else."""
    url = databases.url_of(database)
    return [make_settings(folder / name, database={"url": url}) for name in ("here", "there")]
