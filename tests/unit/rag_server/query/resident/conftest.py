"""Real metadata, a chunk store in memory, and collections on them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from rag_server.metadata.database import Database
from rag_server.query.resident.snapshot import SnapshotFolder
from rag_server.testing.retrieval_corpus import make_documents
from tests.unit.rag_server.query.resident.resident_library import FlakyStore, Shelf, open_database

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that has a loop of its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an empty database: migrating one takes longer than most tests."""
    folder = tmp_path_factory.mktemp("migrated")

    async def migrate() -> None:
        await (await open_database(folder)).close()

    run(migrate())
    return folder


@pytest.fixture(scope="session")
def seeded(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Shelf]:
    """Return a database with the corpus of the retriever suite, and its shelf; leave both as they are."""
    folder = tmp_path_factory.mktemp("seeded") / "database"
    shutil.copytree(migrated, folder)

    async def seed() -> Shelf:
        database = await open_database(folder)
        shelf = await Shelf.make(database, FlakyStore(), "corpus")
        await shelf.put(*make_documents())
        await database.close()
        return shelf

    return folder, run(seed())


@pytest.fixture
async def database(migrated: Path, tmp_path: Path) -> AsyncIterator[Database]:
    shutil.copytree(migrated, tmp_path / "database")
    opened = await open_database(tmp_path / "database")
    yield opened
    await opened.close()


@pytest.fixture
def store() -> FlakyStore:
    return FlakyStore()


@pytest.fixture
async def shelf(database: Database, store: FlakyStore) -> Shelf:
    return await Shelf.make(database, store)


@pytest.fixture
def snapshots(tmp_path: Path) -> SnapshotFolder:
    return SnapshotFolder(tmp_path / "snapshots")


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made
