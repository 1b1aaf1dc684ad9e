"""What PostgreSQL does that SQLite does not: several writers, deadlines, and a server that can go away."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime

import pytest
import structlog.testing
from sqlalchemy import make_url, text

from rag_server.domain.collection import Collection, NewCollection
from rag_server.domain.job import Job, JobState
from rag_server.domain.metadata import Metadata
from rag_server.errors import RagError, Unavailable
from rag_server.metadata import Database
from rag_server.metadata.options import ConnectionOptions
from rag_server.metadata.postgres import normalised_url
from tests import databases

TENANT = "acme"
Submit = Callable[..., Awaitable[Job]]
ONLY_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
async def impatient(url: str) -> AsyncIterator[Database]:
    """Return the same database, reached with deadlines of a fraction of a second."""
    options = ConnectionOptions(statement_timeout_s=0.5, lock_timeout_s=0.2, pool_size=2)
    opened = await Database.open(url, options=options)
    yield opened
    await opened.close()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgres://u:p%40@h/d", "postgresql+asyncpg://u:p%40@h/d"),
        ("postgresql+asyncpg://h:5433/d", "postgresql+asyncpg://h:5433/d"),
        ("postgresql://h/d?ssl=true", "postgresql+asyncpg://h/d?sslmode=require"),
        ("postgresql://h/d?ssl=verify-full", "postgresql+asyncpg://h/d?sslmode=verify-full"),
        ("postgresql://h/d?sslmode=disable&ssl=true", "postgresql+asyncpg://h/d?sslmode=disable"),
    ],
)
def test_normalised_url_is_that_of_our_driver(given: str, expected: str) -> None:
    assert normalised_url(given) == expected


@pytest.mark.parametrize(
    "url", ["secret", "mysql://secret@h/d", "postgresql://secret@h", "postgresql://h:secret/d"]
)
def test_normalised_url_of_anything_else_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(is not|has to|names no)") as caught:
        normalised_url(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@ONLY_POSTGRESQL
async def test_connections_have_deadlines_and_isolation_whatever_the_server_has(
    database: Database, impatient: Database
) -> None:
    names = (
        "transaction_isolation",
        "transaction_read_only",
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "application_name",
        "timezone",
    )
    found = {}
    for kind, engine in (("writer", impatient._writer), ("reader", impatient._reader)):
        async with engine.connect() as connection:
            found[kind] = [(await connection.execute(text(f"SHOW {name}"))).scalar() for name in names]
    rest = ["500ms", "200ms", "1min", "rag-server", "UTC"]
    assert found == {
        "writer": ["read committed", "off", *rest],
        "reader": ["repeatable read", "on", *rest],
    }


@ONLY_POSTGRESQL
async def test_statement_that_takes_too_long_is_unavailable_and_the_next_one_works(
    impatient: Database,
) -> None:
    async def sleep() -> None:
        async with impatient.snapshot() as tx:
            await tx.jobs._scope.session.execute(text("SELECT pg_sleep(30)"))

    with structlog.testing.capture_logs() as logs, pytest.raises(Unavailable):
        await asyncio.wait_for(sleep(), 10)
    assert [entry["sqlstate"] for entry in logs] == ["57014"]
    await impatient.check()


@ONLY_POSTGRESQL
async def test_lock_that_is_not_given_in_time_is_unavailable_and_to_be_asked_for_again_soon(
    database: Database, collection: Collection, impatient: Database
) -> None:
    async def bump(source: Database) -> int:
        async with source.transaction() as tx:
            return await tx.collections.bump_revision(TENANT, collection.uid)

    async with database.transaction() as tx:
        await tx.collections.bump_revision(TENANT, collection.uid)
        with pytest.raises(Unavailable) as raised:
            await asyncio.wait_for(bump(impatient), 10)
    assert raised.value.reason == "METADATA_STORE_UNAVAILABLE"
    assert raised.value.retry_after_s is not None
    assert raised.value.retry_after_s < 1
    assert await bump(impatient) == 2


@ONLY_POSTGRESQL
async def test_deadlock_one_is_told_to_come_back_and_the_other_goes_on(
    database: Database, collection: Collection
) -> None:
    async with database.transaction() as tx:
        other = await tx.collections.create(TENANT, NewCollection("other"), embedding_model="m", dimension=4)
    both_hold_one = asyncio.Barrier(2)

    async def bump(first: str, second: str) -> None:
        async with database.transaction() as tx:
            await tx.collections.bump_revision(TENANT, first)
            await both_hold_one.wait()
            await tx.collections.bump_revision(TENANT, second)

    results = await asyncio.wait_for(
        asyncio.gather(
            bump(collection.uid, other.uid), bump(other.uid, collection.uid), return_exceptions=True
        ),
        30,
    )
    (failure,) = [result for result in results if result is not None]
    assert isinstance(failure, Unavailable)
    assert failure.reason == "METADATA_STORE_UNAVAILABLE"
    async with database.snapshot() as tx:
        revisions = [(await tx.collections.get(TENANT, name)).revision for name in ("papers", "other")]
    assert revisions == [1, 1]


@ONLY_POSTGRESQL
async def test_backend_killed_inside_a_transaction_is_unavailable_and_leaves_nothing(
    database: Database, collection: Collection, url: str, migrated_postgres: str
) -> None:
    async def write(is_killed: bool) -> None:
        async with database.transaction() as tx:
            await tx.collections.create(TENANT, NewCollection("new"), embedding_model="m", dimension=4)
            if is_killed:
                session = tx.jobs._scope.session
                backend = (await session.execute(text("SELECT pg_backend_pid()"))).scalar()
                await databases.execute("postgres", f"SELECT pg_terminate_backend({backend}, 5000)")
            await tx.collections.bump_revision(TENANT, collection.uid)

    with pytest.raises(Unavailable) as raised:
        await write(is_killed=True)
    assert raised.value.retry_after_s is not None
    async with database.snapshot() as tx:
        assert [found.revision for found in await tx.collections.list(TENANT, limit=10)] == [0]
    await write(is_killed=False)
    async with database.snapshot() as tx:
        assert len(await tx.collections.list(TENANT, limit=10)) == 2


@ONLY_POSTGRESQL
async def test_idle_connections_killed_are_replaced_unnoticed(
    database: Database, migrated_postgres: str
) -> None:
    await database.check()
    await databases.execute("postgres", databases.kill_statement(migrated_postgres))
    await database.check()
    async with database.transaction() as tx:
        await tx.collections.create(TENANT, NewCollection("new"), embedding_model="m", dimension=4)


def _refused(**changes: object) -> str:
    url = make_url(databases.url_of("postgres")).set(**changes)  # type: ignore[arg-type] # by name
    return url.render_as_string(hide_password=False)


@pytest.mark.parametrize(
    "make",
    [
        lambda: _refused(database="absent_hunter2"),
        lambda: _refused(username="absent", password="hunter2"),
        lambda: _refused(host="127.0.0.1", port=1, password="hunter2"),
        lambda: _refused(host="hunter2.invalid"),
        lambda: _refused(query={"sslmode": "verify-full", "sslrootcert": "/absent/hunter2"}),
    ],
    ids=["database", "user", "port", "host", "certificate"],
)
async def test_open_what_cannot_be_reached_is_unavailable_without_naming_it(make: Callable[[], str]) -> None:
    with structlog.testing.capture_logs() as logs, pytest.raises(Unavailable) as raised:
        await Database.open(make())
    assert raised.value.reason == "METADATA_STORE_UNAVAILABLE"
    assert "hunter2" not in str(raised.value) + str(logs)
    assert [entry["event"] for entry in logs] == ["metadata store failed"]


@pytest.fixture
def crowded() -> Iterator[str]:
    """Give the URL of a database that takes two connections of its owner."""
    role = f"rag_test_{uuid.uuid4().hex[:8]}"
    databases.run(databases.execute("postgres", f"CREATE ROLE {role} LOGIN"))
    try:
        with databases.postgres_database(f"OWNER {role} CONNECTION LIMIT 2") as name:
            url = make_url(databases.url_of(name)).set(username=role)
            yield url.render_as_string(hide_password=False)
    finally:
        databases.run(databases.execute("postgres", f"DROP ROLE {role}"))


async def test_server_without_a_free_connection_is_unavailable_until_there_is_one(crowded: str) -> None:
    database = await Database.open(crowded)
    try:
        async with database.transaction(), database.snapshot():
            with structlog.testing.capture_logs() as logs, pytest.raises(Unavailable):
                await database.check()
        assert [entry["sqlstate"] for entry in logs] == ["53300"]
        await database.check()
    finally:
        await database.close()


async def test_delete_of_a_document_whose_job_ends_meanwhile_waits_for_the_job_and_succeeds(
    database: Database, collection: Collection, submit: Submit, publish: Callable[..., Awaitable[Job]]
) -> None:
    await publish(await submit())
    job = await submit()
    is_deleting = asyncio.Event()

    async def delete() -> None:
        is_deleting.set()
        async with database.transaction() as tx:
            await tx.documents.delete(TENANT, collection.uid, "doc")

    async with database.transaction() as tx:
        await tx.jobs.change(TENANT, job.id, state=JobState.FAILED)
        deleting = asyncio.create_task(delete())
        await is_deleting.wait()
        await asyncio.sleep(0.05)
        assert not deleting.done()
    await deleting
    async with database.snapshot() as tx:
        assert await tx.documents.list(TENANT, collection.uid, limit=10) == []
        assert (await tx.jobs.get(TENANT, job.id)).state is JobState.FAILED


async def test_names_are_listed_by_code_point(
    database: Database, collection: Collection, submit: Submit, publish: Callable[..., Awaitable[Job]]
) -> None:
    names = ["a", "B", "ñ", "Z", "_", "a b", "a-b", "z", "\U0001f99c", "é", "e\u0301", "\uffee"]
    for name in names:
        await publish(await submit(name))
    found: list[str] = []
    async with database.snapshot() as tx:
        while page := await tx.documents.list(
            TENANT, collection.uid, after_id=found[-1] if found else "", limit=5
        ):
            found += [document.id for document in page]
        scanned = [head.id for head in await tx.documents.scan(TENANT, collection.uid, limit=100)]
    assert found == scanned == sorted(names)


async def test_values_at_their_limits_come_back_as_they_were(
    database: Database, collection: Collection, submit: Submit, publish: Callable[..., Awaitable[Job]]
) -> None:
    metadata: Metadata = {
        "largest": 2**63 - 1,
        "smallest": -(2**63),
        "huge": 1.7976931348623157e308,
        "tiny": 5e-324,
        "whole": 1e20,
        "third": 1 / 3,
        "text": "\\u0000 \\ \" ' \U0001f99c \x7f \u2028 %s $1 :name",
        "none": "",
        "tags": ("", "\n\t", "ñ"),
        "first": datetime(1, 1, 1, tzinfo=UTC),
        "last": datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    }
    await publish(await submit("\\u0000 ' $1", metadata=metadata), chunks=2**40)
    async with database.snapshot() as tx:
        document = await tx.documents.get(TENANT, collection.uid, "\\u0000 ' $1")
        (head,) = await tx.documents.scan(TENANT, collection.uid, limit=10)
    assert document.metadata == head.metadata == metadata
    assert {name: type(value) for name, value in document.metadata.items()} == {
        name: type(value) for name, value in metadata.items()
    }
    assert document.chunk_count == 2**40


async def test_writers_of_one_collection_lose_no_revision_and_leave_no_gap(
    database: Database, collection: Collection, submit: Submit, publish: Callable[..., Awaitable[Job]]
) -> None:
    async def ingest(number: int) -> None:
        try:
            await publish(await submit(f"doc-{number % 4}"))
        except RagError as error:  # a straggler: a later revision is visible already
            pytest.fail(str(error))

    # as many as there are connections: on a busy machine none is to wait for one
    await asyncio.gather(*(ingest(number) for number in range(8)))
    async with database.snapshot() as tx:
        after = await tx.collections.get(TENANT, "papers")
        changes = await tx.changes.since(TENANT, collection.uid, 0, limit=100)
        documents = await tx.documents.list(TENANT, collection.uid, limit=100)
        states = [job.state for job in await tx.jobs.list(TENANT, limit=100)]
    assert changes is not None
    assert [change.revision for change in changes] == list(range(1, after.revision + 1))
    assert after.document_count == len(documents) == 4
    assert after.chunk_count == sum(document.chunk_count for document in documents)
    assert states.count(JobState.SUCCEEDED) == after.revision
    assert set(states) <= {JobState.SUCCEEDED, JobState.FAILED}
