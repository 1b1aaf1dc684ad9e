from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import QueuePool, event, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from rag_server.domain.change import CollectionChange
from rag_server.domain.collection import Collection, NewCollection, TokenChunking
from rag_server.domain.document import NewDocument
from rag_server.domain.job import Job
from rag_server.errors import NotFound, ResourceExhausted, Unavailable
from rag_server.metadata import Database, engine
from rag_server.metadata.options import ConnectionOptions
from tests.databases import ONLY_SQLITE

TENANT = "acme"
Submit = Callable[..., Awaitable[Job]]


@ONLY_SQLITE
async def test_connections_are_durable_checked_and_in_wal_mode(database: Database) -> None:
    for source, is_read_only in ((database._writer, 0), (database._reader, 1)):
        async with source.connect() as connection:
            found = {
                name: (await connection.execute(text(f"PRAGMA {name}"))).scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "query_only")
            }
        assert found == {
            "journal_mode": "wal",
            "synchronous": 2,
            "foreign_keys": 1,
            "busy_timeout": engine.BUSY_TIMEOUT_MS,
            "query_only": is_read_only,
        }


async def test_transactions_twenty_writers_at_once_lose_no_update(
    database: Database, collection: Collection
) -> None:
    async def write(number: int) -> int:
        async with database.transaction() as tx:
            # takes the collection's lock
            job = await tx.jobs.create(
                TENANT, collection.uid, NewDocument("papers", "doc"), chunking=TokenChunking()
            )
            # read, give others the chance to run, then write what was read plus one
            before = await tx.collections.get(TENANT, "papers")
            await asyncio.sleep(0)
            await tx.collections.update(
                TENANT, "papers", labels={**before.labels, str(number): str(len(before.labels))}
            )
            await tx.collections.bump_revision(TENANT, collection.uid, documents=1)
            return job.document_revision

    revisions = await asyncio.gather(*(write(number) for number in range(20)))
    async with database.snapshot() as tx:
        after = await tx.collections.get(TENANT, "papers")
    assert sorted(revisions) == list(range(1, 21))
    assert (after.revision, after.document_count) == (20, 20)
    assert sorted(after.labels.values(), key=int) == [str(number) for number in range(20)]


async def test_transactions_of_two_databases_on_one_file_take_turns(database: Database, url: str) -> None:
    second = await Database.open(url)
    try:
        async with database.transaction() as tx:
            made = await tx.collections.create(TENANT, NewCollection("c"), embedding_model="m", dimension=4)

        async def bump(source: Database) -> None:
            async with source.transaction() as tx:
                await tx.collections.bump_revision(TENANT, made.uid)

        await asyncio.gather(*(bump(source) for source in [database, second] * 10))
        async with second.snapshot() as tx:
            assert (await tx.collections.get(TENANT, "c")).revision == 20
    finally:
        await second.close()


async def test_snapshot_sees_one_moment_and_does_not_wait_for_writers(
    database: Database, collection: Collection
) -> None:
    async with database.snapshot() as before:
        assert (await before.collections.get(TENANT, "papers")).revision == 0
        async with database.transaction() as tx:
            await tx.collections.bump_revision(TENANT, collection.uid)
            async with database.snapshot() as during:
                assert (await during.collections.get(TENANT, "papers")).revision == 0
        assert await before.collections.list(TENANT, limit=1) == [collection]
    async with database.snapshot() as after:
        assert (await after.collections.get(TENANT, "papers")).revision == 1


async def test_snapshot_writing_is_refused(database: Database, collection: Collection) -> None:
    async def write() -> None:
        async with database.snapshot() as tx:
            await tx.collections.bump_revision(TENANT, collection.uid)

    with pytest.raises(Unavailable):
        await write()
    async with database.snapshot() as tx:
        assert await tx.collections.get(TENANT, "papers") == collection


async def test_transaction_error_in_the_block_rolls_back(database: Database) -> None:
    async def create_and_break() -> None:
        async with database.transaction() as tx:
            await tx.collections.create(TENANT, NewCollection("c"), embedding_model="m", dimension=4)
            raise OSError("the caller's own")

    with pytest.raises(OSError, match="the caller's own"):
        await create_and_break()
    async with database.snapshot() as tx:
        assert await tx.collections.list(TENANT, limit=10) == []


@pytest.mark.parametrize("steps", range(0, 80, 4))
async def test_transaction_cancelled_at_any_point_rolls_back_and_returns_the_connection(
    database: Database, collection: Collection, steps: int
) -> None:
    is_done = False

    async def write() -> None:
        nonlocal is_done
        async with database.transaction() as tx:
            for _ in range(3):
                await tx.jobs.create(
                    TENANT, collection.uid, NewDocument("papers", "doc"), chunking=TokenChunking()
                )
            await tx.collections.bump_revision(TENANT, collection.uid, documents=3)
        is_done = True

    task = asyncio.create_task(write())
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    # there is one write connection: were it not returned, this would wait in vain
    async with asyncio.timeout(30), database.transaction() as tx:
        count = len(await tx.jobs.list(TENANT, limit=10))
        revision = (await tx.collections.get(TENANT, "papers")).revision
        await tx.collections.bump_revision(TENANT, collection.uid)
    # a commit that was under way when the cancellation came may have happened, but only as a whole
    assert (count, revision) in {(0, 0), (3, 1)}
    assert not is_done or count == 3


async def test_transaction_cancelled_while_holding_the_lock_lets_the_next_one_in(
    database: Database, collection: Collection
) -> None:
    is_inside = asyncio.Event()

    async def hold() -> None:
        async with database.transaction() as tx:
            await tx.collections.bump_revision(TENANT, collection.uid)
            is_inside.set()
            await asyncio.Event().wait()

    async def bump() -> int:
        async with database.transaction() as tx:
            return await tx.collections.bump_revision(TENANT, collection.uid)

    holder = asyncio.create_task(hold())
    await is_inside.wait()
    waiting, impatient = asyncio.create_task(bump()), asyncio.create_task(bump())
    for _ in range(5):
        await asyncio.sleep(0)
    impatient.cancel()
    holder.cancel()
    results = await asyncio.gather(holder, impatient, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    assert await waiting == 1


@ONLY_SQLITE
async def test_transaction_file_locked_by_another_process_is_unavailable(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_DURABLE_PRAGMAS", ("PRAGMA busy_timeout=0",))
    impatient = Database(engine.create_writer(str(database._writer.url)), database._reader, database._clock)

    async def write() -> None:
        async with impatient.transaction():
            pytest.fail("the lock is taken")

    other = sqlite3.connect(tmp_path / "metadata.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable) as raised:
            await write()
        other.execute("ROLLBACK")
        async with impatient.transaction() as tx:
            await tx.collections.create(TENANT, NewCollection("c"), embedding_model="m", dimension=4)
    finally:
        other.close()
        await impatient._writer.dispose()
    assert raised.value.reason == "METADATA_STORE_UNAVAILABLE"
    assert raised.value.retry_after_s is not None
    assert "lock" not in str(raised.value)


async def test_transaction_no_connection_in_time_is_unavailable(url: str) -> None:
    database = await Database.open(url, options=ConnectionOptions(pool_size=1, pool_timeout_s=0.01))

    async def nested() -> None:
        async with database.transaction(), database.transaction():
            pytest.fail("there is one connection")

    try:
        with pytest.raises(Unavailable):
            await nested()
    finally:
        await database.close()


@ONLY_SQLITE
async def test_transaction_disk_full_stores_nothing_and_works_again_with_room(
    database: Database, submit: Submit
) -> None:
    accepted = await submit()

    async def limit(pages: int) -> None:
        async with database._writer.connect() as connection:
            used = (await connection.execute(text("PRAGMA page_count"))).scalar_one()
            await connection.execute(text(f"PRAGMA max_page_count={used + pages}"))

    async def fill() -> None:
        for number in range(200):
            await submit(f"doc-{number}", metadata={"text": "x" * 4000})

    await limit(0)
    with pytest.raises(ResourceExhausted) as raised:
        await fill()
    assert raised.value.reason == "DISK_FULL"
    async with database.snapshot() as tx:
        stored = {job.id for job in await tx.jobs.list(TENANT, limit=1000)}
        assert accepted.id in stored
    await limit(10_000)
    again = await submit("again", metadata={"text": "x" * 4000})
    async with database.snapshot() as tx:
        assert {job.id for job in await tx.jobs.list(TENANT, limit=1000)} == {*stored, again.id}


async def test_transaction_wrong_sql_is_our_mistake_and_not_an_outage(database: Database) -> None:
    async def query() -> None:
        async with database.transaction() as tx:
            await tx.jobs._scope.session.execute(text("SELECT * FROM absent"))

    with pytest.raises(DBAPIError):
        await query()


async def test_open_missing_folder_is_unavailable_without_naming_it(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as raised:
        await Database.open(f"sqlite+aiosqlite:///{tmp_path}/absent/metadata.db")
    assert raised.value.reason == "METADATA_STORE_UNAVAILABLE"
    assert str(tmp_path) not in str(raised.value)


async def test_open_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "metadata.db").write_bytes(b"not a database, whatever its name says" * 100)
    with pytest.raises(Unavailable):
        await Database.open(f"sqlite+aiosqlite:///{tmp_path}/metadata.db")


async def test_check_answers_until_closed(url: str) -> None:
    database = await Database.open(url)
    await database.check()
    await database.close()
    await database.close()
    with pytest.raises(Unavailable):
        await database.check()


@ONLY_SQLITE
async def test_crash_before_commit_leaves_nothing_after_it_everything(
    url: str, tmp_path: Path, collection: Collection, submit: Submit, database: Database
) -> None:
    job = await submit()
    crashed = tmp_path / "crashed.db"
    async with database.transaction() as tx:
        lost = await tx.jobs.create(
            TENANT, collection.uid, NewDocument("papers", "lost"), chunking=TokenChunking()
        )
        # the files as a power cut would leave them: with the log, in the middle of a transaction
        for suffix in ("", "-wal"):
            (tmp_path / f"crashed.db{suffix}").write_bytes((tmp_path / f"metadata.db{suffix}").read_bytes())
    survivor = await Database.open(f"sqlite+aiosqlite:///{crashed}")
    try:
        async with survivor.snapshot() as tx:
            assert [found.id for found in await tx.jobs.unfinished()] == [job.id]
            with pytest.raises(NotFound):
                await tx.jobs.get(TENANT, lost.id)
    finally:
        await survivor.close()


async def test_transaction_cancelled_while_it_commits_tells_the_listeners_what_it_committed(
    database: Database, submit: Submit
) -> None:
    told: list[str] = []
    database.on_jobs_changed(lambda jobs: told.extend(job.id for job in jobs))
    accepted: list[str] = []
    for turn in range(30):
        task = asyncio.create_task(submit(f"doc-{turn}"))
        for _ in range(turn):
            await asyncio.sleep(0)
        await asyncio.sleep(turn * 0.0005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    async with database.snapshot() as tx:
        accepted = [job.id for job in await tx.jobs.list(TENANT, limit=100)]
    assert sorted(told) == sorted(accepted)


async def test_transaction_that_does_not_commit_tells_nobody(
    database: Database, collection: Collection
) -> None:
    told: list[object] = []
    database.on_collections_changed(told.append)

    async def bump_and_break() -> None:
        async with database.transaction() as tx:
            await tx.collections.bump_revision(TENANT, collection.uid)
            raise KeyError("power cut")

    with pytest.raises(KeyError):
        await bump_and_break()
    assert told == []


async def test_transaction_listeners_hear_of_collections_before_jobs_and_before_the_writer_goes_on(
    database: Database, submit: Submit, publish: Callable[..., Awaitable[Job]]
) -> None:
    job = await submit()
    heard: list[str] = []
    database.on_jobs_changed(lambda jobs: heard.append("jobs"))
    database.on_collections_changed(lambda changes: heard.append("first"))
    database.on_collections_changed(lambda changes: heard.append("second"))
    await publish(job)
    heard.append("writer")
    assert heard == ["first", "second", "jobs", "writer"]


async def test_transactions_many_writers_at_once_are_told_once_and_on_sqlite_in_order(
    database: Database, collection: Collection, url: str
) -> None:
    told: list[int | None] = []
    database.on_collections_changed(lambda changes: told.extend(each.revision for each in changes))

    async def bump(number: int) -> None:
        async with database.transaction() as tx:
            for _ in range(1 + number % 3):
                await tx.collections.bump_revision(TENANT, collection.uid)

    await asyncio.gather(*(bump(number) for number in range(12)))
    in_order = sorted(set(told), key=lambda revision: revision or 0)
    assert (len(told), len(in_order), in_order[-1]) == (12, 12, 24)
    if engine.is_sqlite(url):
        assert told == in_order


async def test_transaction_cancelled_while_it_commits_tells_of_every_revision_it_committed(
    database: Database, collection: Collection
) -> None:
    told: list[int | None] = []
    database.on_collections_changed(lambda changes: told.extend(each.revision for each in changes))

    async def bump() -> None:
        async with database.transaction() as tx:
            await tx.collections.bump_revision(TENANT, collection.uid)

    for turn in range(30):
        task = asyncio.create_task(bump())
        await asyncio.sleep(turn * 0.0005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    async with database.snapshot() as tx:
        revision = (await tx.collections.get(TENANT, "papers")).revision
    assert sorted(each or 0 for each in told) == list(range(1, revision + 1))


async def test_transaction_commit_of_unknown_outcome_is_told_as_of_no_revision(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    database.on_collections_changed(told.extend)
    commit = AsyncSession.commit

    async def commit_and_lose_the_answer(session: AsyncSession) -> None:
        await commit(session)
        raise OperationalError("COMMIT", {}, Exception("connection lost"))

    async def write() -> None:
        async with database.transaction() as tx:
            made = await tx.collections.create(TENANT, NewCollection("c"), embedding_model="m", dimension=4)
            uids.append(made.uid)
            await tx.collections.delete(TENANT, "papers")

    uids: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(AsyncSession, "commit", commit_and_lose_the_answer)
        with pytest.raises(Unavailable):
            await write()
    # not that it was deleted: that is as uncertain as the rest
    assert told == [
        CollectionChange(TENANT, "papers", collection.uid, 0),
        CollectionChange(TENANT, "c", uids[0], 0),
    ]


async def test_end_that_fails_changes_nothing_of_what_was_read_or_committed(
    database: Database, collection: Collection
) -> None:
    def fail(_connection: object) -> None:
        raise DBAPIError("ROLLBACK", None, Exception("terminating connection"))

    reader, writer = database._reader.sync_engine, database._writer.sync_engine
    for each in (reader, writer):
        event.listen(each, "rollback", fail)
    async with database.snapshot() as tx:
        assert [found.id for found in await tx.collections.list(TENANT, limit=10)] == ["papers"]

    async def fail_in_the_block() -> None:
        async with database.transaction() as tx:
            await tx.collections.delete(TENANT, "papers")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_in_the_block()
    for each in (reader, writer):
        event.remove(each, "rollback", fail)
        assert cast("QueuePool", each.pool).checkedout() == 0
    async with database.transaction() as tx:  # what the failed end left behind holds no lock
        await tx.collections.bump_revision(TENANT, collection.uid)
