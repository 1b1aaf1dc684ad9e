from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import NoReturn

import pytest
import structlog.testing
from sqlalchemy.exc import DatabaseError, DBAPIError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from rag_server.errors import ResourceExhausted, Unavailable
from rag_server.metadata.failures import translate, translated


class ServerError(Exception):
    """An error as PostgreSQL's drivers make it."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__("secret text")
        self.sqlstate = sqlstate


def _error(kind: type[DBAPIError], sqlstate: str, *, is_lost: bool = False) -> DBAPIError:
    return kind("SELECT 1", None, ServerError(sqlstate), connection_invalidated=is_lost)


@pytest.mark.parametrize(
    "error",
    [
        PoolTimeoutError(),
        _error(OperationalError, "57P01"),
        _error(DatabaseError, "XX001"),
        _error(ProgrammingError, "08006", is_lost=True),
        _error(DBAPIError, "40001"),
        _error(DBAPIError, "53300"),
        _error(DBAPIError, "53200"),
        _error(DBAPIError, "57014"),
        _error(DBAPIError, "55P03"),
        _error(DBAPIError, "25006"),
        _error(DBAPIError, "28P01"),
        _error(ProgrammingError, "42501"),
        _error(ProgrammingError, "40P01"),
        OperationalError("SELECT 1", None, sqlite3.OperationalError("database is locked")),
    ],
)
def test_translate_outage_is_unavailable(error: DBAPIError) -> None:
    meaning = translate(error)
    assert isinstance(meaning, Unavailable)
    assert meaning.reason == "METADATA_STORE_UNAVAILABLE"


def test_translate_server_without_room_is_disk_full() -> None:
    meaning = translate(_error(OperationalError, "53100"))
    assert isinstance(meaning, ResourceExhausted)
    assert meaning.reason == "DISK_FULL"


@pytest.mark.parametrize(
    "error",
    [
        _error(IntegrityError, "23505"),
        _error(ProgrammingError, "42P01"),
        # asyncpg's plain errors: text that PostgreSQL does not take, a number out of range
        _error(DBAPIError, "22021"),
        _error(DBAPIError, "22003"),
    ],
)
def test_translate_mistake_of_ours_is_no_failure(error: DBAPIError) -> None:
    assert translate(error) is None


def _raise(error: Exception) -> NoReturn:
    raise error


@pytest.mark.parametrize(
    "make", [lambda: _error(OperationalError, "57P01"), lambda: ConnectionRefusedError("secret text")]
)
def test_translated_failure_text_is_neither_told_nor_logged(make: Callable[[], Exception]) -> None:
    with (
        structlog.testing.capture_logs() as logs,
        pytest.raises(Unavailable) as raised,
        translated(is_connecting=True),
    ):
        _raise(make())
    assert "secret text" not in str(raised.value)
    assert [entry["event"] for entry in logs] == ["metadata store failed"]
    assert "secret text" not in str(logs)
    assert logs[0]["where"][-1].endswith("_raise")


def test_translated_os_error_of_the_caller_passes() -> None:
    with pytest.raises(ConnectionRefusedError), translated():
        _raise(ConnectionRefusedError())


def test_translated_mistake_of_ours_passes() -> None:
    with pytest.raises(IntegrityError), translated():
        _raise(_error(IntegrityError, "23505"))
