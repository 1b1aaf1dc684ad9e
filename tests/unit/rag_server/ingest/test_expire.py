from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rag_server.domain.document import NewDocument
from rag_server.errors import NotFound, Unavailable
from rag_server.ingest.expire import Expirer
from rag_server.metadata.database import Database
from tests.unit.rag_server.ingest.conftest import TENANT


class Clock:
    def __init__(self) -> None:
        self.age = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) - self.age


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def database(tmp_path: Path, clock: Clock) -> AsyncIterator[Database]:
    database = await Database.open(f"sqlite+aiosqlite:///{tmp_path / 'metadata.db'}", clock=clock)
    yield database
    await database.close()


async def put(database: Database, request_id: str) -> None:
    async with database.transaction() as tx:
        await tx.idempotency.put(TENANT, "/m", request_id, body_hash="h", response=b"r")


async def kept(database: Database, request_id: str) -> bool:
    async with database.snapshot() as tx:
        return await tx.idempotency.get(TENANT, "/m", request_id) is not None


async def test_expire_forgets_old_records_and_keeps_young_ones(database: Database, clock: Clock) -> None:
    clock.age = timedelta(seconds=101)
    await put(database, "old")
    clock.age = timedelta(seconds=50)
    await put(database, "young")
    await Expirer(database, ttl_s=100, failed_ttl_s=100, upload_ttl_s=100).expire()
    assert not await kept(database, "old")
    assert await kept(database, "young")


async def test_expire_forgets_uploads_that_nothing_comes_for(database: Database, clock: Clock) -> None:
    ids = []
    for age in (101, 50):
        clock.age = timedelta(seconds=age)
        async with database.transaction() as tx:
            ids.append((await tx.uploads.create(TENANT, "uid", NewDocument("books", ""))).id)
    await Expirer(database, ttl_s=1000, failed_ttl_s=1000, upload_ttl_s=100).expire()
    async with database.snapshot() as tx:
        with pytest.raises(NotFound):
            await tx.uploads.get(TENANT, ids[0])
        assert (await tx.uploads.get(TENANT, ids[1])).id == ids[1]


async def test_expirer_goes_on_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = asyncio.Semaphore(0)

    async def fail(self: Expirer) -> None:
        rounds.release()
        raise Unavailable("METADATA_STORE_UNAVAILABLE", "m")

    monkeypatch.setattr(Expirer, "expire", fail)
    expirer = Expirer(None, ttl_s=0.001, failed_ttl_s=0.001, upload_ttl_s=0.001)  # type: ignore[arg-type]  # never asked
    with capture_logs() as logs:
        task = asyncio.create_task(expirer.run())
        for _ in range(2):
            await rounds.acquire()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert {each["reason"] for each in logs} == {"METADATA_STORE_UNAVAILABLE"}
