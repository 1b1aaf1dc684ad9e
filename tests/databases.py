"""Databases that tests may have: a SQLite file of their own, or PostgreSQL.

One PostgreSQL database per test process is made and migrated when the first test asks for it, emptied before
each test that takes it, and dropped at the end. To empty it costs milliseconds; to create one costs a
checkpoint of the whole server.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import asyncpg
import pytest
from sqlalchemy import make_url

from rag_server.metadata import Database
from rag_server.metadata.postgres import normalised_url
from rag_server.metadata.tables import metadata

POSTGRES_URL = os.environ.get("RAG_TEST_POSTGRES_URL") or "postgresql://postgres@127.0.0.1:5432"
"""A server on which the tests may create databases. Read now: later, tests see no `RAG_` variables."""

KINDS = ("sqlite", "postgresql")
ONLY_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For tests of what only one kind has, which take the fixture `database_url`."""
_T = TypeVar("_T")


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run `work` in a loop and a thread of its own, whatever loop the test has."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def url_of(name: str) -> str:
    """Return the URL of the database `name`, as settings have it."""
    url = make_url(POSTGRES_URL)
    # TLS to a server on loopback costs more than the tests' statements
    query = {"sslmode": "disable", **url.query} if url.host in {"127.0.0.1", "localhost"} else url.query
    return normalised_url(url.set(database=name, query=query).render_as_string(hide_password=False))


async def execute(name: str, *statements: str) -> None:
    """Execute statements, each in a transaction of its own, in the database `name`."""
    connection = await connect(name)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def connect(name: str) -> asyncpg.Connection[Any]:
    """Open a connection to the database `name`, past the code under test."""
    dsn = make_url(url_of(name)).set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        return await asyncpg.connect(dsn, timeout=10)
    except OSError as error:
        raise AssertionError(
            "no PostgreSQL answers where RAG_TEST_POSTGRES_URL says: scripts/test_services.py starts one"
        ) from error


@contextmanager
def postgres_database(options: str = "") -> Iterator[str]:
    """Give an empty database, and drop it afterwards; return its name."""
    name = f"rag_test_{os.getpid()}_{uuid.uuid4().hex[:8]}"
    run(execute("postgres", f"CREATE DATABASE {name} {options}"))
    try:
        # what tests commit may be lost when the machine loses power; it is lost at the end anyway
        run(execute("postgres", f"ALTER DATABASE {name} SET synchronous_commit = off"))
        yield name
    finally:
        run(execute("postgres", f"DROP DATABASE {name} WITH (FORCE)"))


@contextmanager
def migrated_database() -> Iterator[str]:
    """Give the name of a database with all tables, as `empty` leaves it."""
    with postgres_database() as name:
        migrate(url_of(name))
        yield name


def migrate(url: str) -> None:
    """Give the database its tables, as the first server that opens it does."""

    async def open_and_close() -> None:
        await (await Database.open(url)).close()

    run(open_and_close())


def empty(name: str) -> None:
    """Remove all rows; wait no longer than seconds for transactions that another test left open."""
    tables = [f'DELETE FROM "{table.name}"' for table in reversed(metadata.sorted_tables)]  # noqa: S608
    run(execute(name, f"SET lock_timeout = '10s'; {'; '.join(tables)}"))


def kill_statement(name: str) -> str:
    """Return what ends every session of the code under test in the database `name`, and waits for it."""
    return (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"  # noqa: S608 - a name of ours
        f" WHERE datname = '{name}' AND application_name = 'rag-server'"
    )
