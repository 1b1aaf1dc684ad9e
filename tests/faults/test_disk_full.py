"""F13: the disk of the metadata or of the bytes is full; what was accepted stays, room is all it takes."""

from __future__ import annotations

import os
import pwd
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from rag_server.backends.local_blobs import LocalBlobStore
from rag_server.domain.collection import Collection, NewCollection, TokenChunking
from rag_server.domain.document import NewDocument
from rag_server.errors import ResourceExhausted
from rag_server.metadata import Database
from rag_server.metadata.postgres import normalised_url
from tests.databases import KINDS
from tests.faults.private_postgres import private_postgres
from tests.faults.small_disk import SmallDisk, small_disk

TENANT = "acme"
LARGE = "x" * 20_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", mebibytes=24) as disk:
        yield disk


@pytest.fixture
def postgres_on_disk() -> Iterator[tuple[str, SmallDisk]]:
    """Give the URL of a server with a small disk for tables; its log is elsewhere, as it should be."""
    with private_postgres() as server:
        folder = Path("/tmp") / f"rag-test-tablespace-{os.getpid()}"
        with small_disk(folder, mebibytes=24) as disk:
            place = folder / "tables"
            place.mkdir()
            account = pwd.getpwnam("postgres")
            os.chown(place, account.pw_uid, account.pw_gid)
            yield f"{server.url}/postgres?sslmode=disable", disk
        folder.rmdir()


@pytest.fixture(params=KINDS)
async def stored(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Database, SmallDisk]]:
    if request.param == "sqlite":
        disk = request.getfixturevalue("disk")
        url = f"sqlite+aiosqlite:///{disk.path / 'metadata.db'}"
    else:
        url, disk = request.getfixturevalue("postgres_on_disk")
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(f"CREATE TABLESPACE small LOCATION '{disk.path / 'tables'}'")
            await connection.execute("CREATE DATABASE rag TABLESPACE small")
        finally:
            await connection.close()
        url = normalised_url(url.replace("/postgres?", "/rag?"))
    database = await Database.open(url)
    yield database, disk
    await database.close()


async def _submit(database: Database, collection: Collection, number: int) -> str:
    document = NewDocument(collection.id, f"doc-{number}", metadata={"text": os.urandom(8000).hex()})
    async with database.transaction() as tx:
        return (await tx.jobs.create(TENANT, collection.uid, document, chunking=TokenChunking())).id


async def test_metadata_on_a_full_disk_refuses_and_keeps_what_it_accepted(
    stored: tuple[Database, SmallDisk],
) -> None:
    database, disk = stored
    async with database.transaction() as tx:
        collection = await tx.collections.create(
            TENANT, NewCollection("papers"), embedding_model="m", dimension=4
        )
    accepted = [await _submit(database, collection, 0)]
    disk.fill()

    async def go_on() -> None:
        for number in range(1, 3000):
            accepted.append(await _submit(database, collection, number))

    with pytest.raises(ResourceExhausted) as raised:
        await go_on()
    assert raised.value.reason == "DISK_FULL"
    assert raised.value.is_retryable
    async with database.snapshot() as tx:
        assert {job.id for job in await tx.jobs.unfinished(limit=5000)} == set(accepted)

    disk.resize(200)
    accepted += [await _submit(database, collection, number) for number in range(5000, 5100)]
    async with database.snapshot() as tx:
        assert {job.id for job in await tx.jobs.unfinished(limit=5000)} == set(accepted)


async def test_bytes_on_a_full_disk_are_refused_and_those_that_are_kept_stay(disk: SmallDisk) -> None:
    async def data(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 65536):
            yield os.urandom(65536)

    store = LocalBlobStore(disk.path / "blobs")
    await store.open()
    first = await store.stage(TENANT, data(1 << 20), limit_bytes=1 << 30)
    await first.keep()
    with pytest.raises(ResourceExhausted) as raised:
        await store.stage(TENANT, data(64 << 20), limit_bytes=1 << 30)
    assert raised.value.reason == "DISK_FULL"
    assert raised.value.is_retryable
    assert len(await store.read(TENANT, first.sha256)) == 1 << 20
    # nothing of the refused one takes the room of the next
    second = await store.stage(TENANT, data(16 << 20), limit_bytes=1 << 30)
    await second.keep()
    assert {each async for each in store.list_all()} == {(TENANT, first.sha256), (TENANT, second.sha256)}
