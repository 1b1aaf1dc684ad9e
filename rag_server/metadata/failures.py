"""What the database's failures mean to a caller. Their text goes to the log, never further."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from rag_server.errors import RagError, ResourceExhausted, Unavailable
from rag_server.logs import where_raised

_LOG = structlog.get_logger(__name__)

_DISK_FULL_CODES = frozenset({"SQLITE_FULL", "53100"})
"""SQLite's error name and PostgreSQL's SQLSTATE."""
_LOST_RACE_CODES = frozenset({"40001", "40P01"})
"""PostgreSQL: serialization failure, deadlock."""
_OUR_MISTAKE_CODES = frozenset({"SQLITE_ERROR", "SQLITE_MISUSE"})
"""SQLite calls wrong SQL an operational error, too."""


def unavailable() -> Unavailable:
    """Return the error for a metadata store that does not answer."""
    return Unavailable("METADATA_STORE_UNAVAILABLE", "the metadata store does not answer; try again")


def translate(error: SQLAlchemyError) -> RagError | None:
    """Return what `error` means, or None when it is a mistake of ours and not a failure."""
    if isinstance(error, PoolTimeoutError):
        return unavailable()
    if not isinstance(error, DBAPIError):
        return None
    code = getattr(error.orig, "sqlite_errorname", "") or getattr(error.orig, "sqlstate", "") or ""
    if code in _DISK_FULL_CODES:
        return ResourceExhausted(
            "DISK_FULL", "the server's disk is full; nothing was stored", retry_after_s=30.0
        )
    if code in _OUR_MISTAKE_CODES or isinstance(error, IntegrityError):
        return None
    # DatabaseError itself, none of its more specific children: a damaged file, or not a database
    is_plain = type(error).__name__ in {"DatabaseError", "DBAPIError"}
    is_outage = isinstance(error, OperationalError) or is_plain or error.connection_invalidated
    return unavailable() if is_outage or code in _LOST_RACE_CODES else None


@contextmanager
def translated(*, is_connecting: bool = False) -> Iterator[None]:
    """Raise `Unavailable` or `ResourceExhausted` for failures of the database inside the block.

    Drivers let an `OSError` through when they cannot connect. Elsewhere it is the caller's own.
    """
    try:
        yield
    except SQLAlchemyError as error:
        meaning = translate(error)
        if meaning is None:
            raise
        _LOG.warning("metadata store failed", reason=meaning.reason, where=where_raised(error))
        raise meaning from error
    except (OSError, sqlite3.Error) as error:
        if not is_connecting:
            raise
        _LOG.warning("metadata store failed", reason="METADATA_STORE_UNAVAILABLE", where=where_raised(error))
        raise unavailable() from error
