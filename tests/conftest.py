"""What several kinds of test share: settings, one embedded server per test process, and calls to it.

The server runs in the loop of the session, and so have the tests that use it:

    pytestmark = pytest.mark.asyncio(loop_scope="session")
"""

from __future__ import annotations

import gc
import shutil
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import pytest_asyncio

from rag_server.app import running_server
from rag_server.config import Settings
from tests import databases
from tests.rag_client import RagClient, ServerUnderTest

# A shell starts what it puts in the background with this signal ignored, and all that is started from there:
# the tests interrupt processes.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is, and nothing about the code.
hypothesis.settings.register_profile(
    "default", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("default")

SettingsFactory = Callable[..., Settings]

LONGEST_FIRST = ("e2e", "faults", "integration", "contract", "unit")
"""Folders by how long a module of theirs takes. A worker that begins one of a minute when the others have
nothing left to do keeps them waiting; left to itself, xdist begins with the modules of the most tests."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from walking all tests and modules while they are made, and ever after.

    There are more than a million objects, which stay until the end: it costs each worker a second a time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of processes that start and die before those of functions."""
    here = Path(__file__).parent
    items.sort(key=lambda item: LONGEST_FIRST.index(item.path.relative_to(here).parts[0]))


def make_settings(folder: Path, **groups: dict[str, Any]) -> Settings:
    """Return settings of a server that keeps everything in `folder` and listens on a free port.

    Groups override: `make_settings(tmp_path, server={"max_concurrent_calls": 1})`.
    """
    server = {"host": "127.0.0.1", "port": 0, "shutdown_grace_s": 5.0, **groups.pop("server", {})}
    storage = {"data_dir": folder / "data", **groups.pop("storage", {})}
    return Settings.model_validate({"server": server, "storage": storage, **groups})


@pytest.fixture(autouse=True)
def no_ambient_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep `RAG_` variables of whoever runs the tests out of them."""
    import os

    for name in [name for name in os.environ if name.startswith("RAG_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def settings(tmp_path: Path) -> SettingsFactory:
    """Return a function that makes settings in this test's own folder; groups given override."""

    def make(**groups: dict[str, Any]) -> Settings:
        return make_settings(tmp_path, **groups)

    return make


@pytest.fixture(scope="session")
def migrated_postgres() -> Iterator[str]:
    """Return the name of this process's PostgreSQL database, which all its tests share."""
    with databases.migrated_database() as name:
        yield name


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a SQLite file with all tables and no rows: copying it is ten times as quick as making it."""
    path = tmp_path_factory.mktemp("metadata") / "metadata.db"
    databases.migrate(f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture(params=databases.KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a database with all tables and no rows: the test runs on each kind."""
    if request.param == "sqlite":
        path = tmp_path / "metadata.db"
        shutil.copy(request.getfixturevalue("migrated_sqlite"), path)
        return f"sqlite+aiosqlite:///{path}"
    name = request.getfixturevalue("migrated_postgres")
    databases.empty(name)
    return databases.url_of(name)


@pytest.fixture(params=databases.KINDS)
def unmigrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the URL of a database of the test's own, without tables: the test runs on each kind."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'metadata.db'}"
        return
    with databases.postgres_database() as name:
        yield databases.url_of(name)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerUnderTest]:
    """Run one embedded server, with the real model and stores, for all tests of this process."""
    settings = make_settings(
        tmp_path_factory.mktemp("server"),
        # The loop stands still between two tests, so that a check in progress would look like a dead part.
        server={"health_interval_s": 3600.0},
        ingest={"embedding_batch_chunks": 4, "retry_backoff_s": 0.01},
        fetch={"allow_private_addresses": True, "timeout_s": 10.0},
        storage={"max_document_bytes": 4 * 1024 * 1024},
        webhooks={
            "secrets": {"billing": "0123456789abcdef"},
            "allow_private_addresses": True,
            "backoff_s": 0.05,
            "poll_s": 0.1,
        },
    )
    async with running_server(settings) as running, RagClient(running.address) as client:
        yield ServerUnderTest(running, settings, client)


@pytest.fixture
def client(server: ServerUnderTest) -> RagClient:
    """Return the stubs of all services of the shared server."""
    return server.client


@pytest_asyncio.fixture(loop_scope="session")
async def collection(client: RagClient) -> str:
    """Return the name of a new, empty collection that only this test knows."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    await client.create_collection(name)
    return name
