"""What the database's failures mean to a caller. Their text goes to the log, never further.

PostgreSQL says what went wrong by SQLSTATE (PostgreSQL documentation, appendix A), SQLite by the name of
its error; drivers' exception classes say less.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from rag_server.errors import RagError, ResourceExhausted, Unavailable
from rag_server.logs import where_raised

_LOG = structlog.get_logger(__name__)

_DISK_FULL_CODES = frozenset({"SQLITE_FULL", "53100"})
"""SQLite's error name and PostgreSQL's SQLSTATE."""
_LOST_RACE_CODES = frozenset({"40001", "40P01", "55P03"})
"""PostgreSQL: serialization failure, deadlock, a lock not given in time."""
_OUR_MISTAKE_CODES = frozenset({"SQLITE_ERROR", "SQLITE_MISUSE"})
"""SQLite calls wrong SQL an operational error, too."""
_OUTAGE_CLASSES = frozenset({
    "08",  # connection
    "28",  # authentication: a password that has been changed, say
    "3D",  # no such database
    "53",  # resources: memory, connections (53300)
    "57",  # operator: shutdown (57P01 to 57P03), a statement that takes too long (57014)
    "58",  # system: an error of the disk
    "XX",  # internal: damaged data
})  # fmt: skip
"""First two characters of the SQLSTATEs that end when somebody looks after the server."""
_OUTAGE_CODES = frozenset({"25006", "25P03", "25P04", "42501"})
"""PostgreSQL: a read-only server (a standby, after a fail-over), transactions that took too long, and tables
that an administrator has to give us access to."""
_LOST_RACE_RETRY_S = 0.1


def unavailable() -> Unavailable:
    """Return the error for a metadata store that does not answer."""
    return Unavailable("METADATA_STORE_UNAVAILABLE", "the metadata store does not answer; try again")


def translate(error: SQLAlchemyError) -> RagError | None:
    """Return what `error` means, or None when it is a mistake of ours and not a failure."""
    if isinstance(error, PoolTimeoutError):
        return unavailable()
    if not isinstance(error, DBAPIError):
        return None
    sqlstate = sqlstate_of(error)
    code = sqlstate or getattr(error.orig, "sqlite_errorname", "")
    if code in _DISK_FULL_CODES:
        return ResourceExhausted(
            "DISK_FULL", "the server's disk is full; nothing was stored", retry_after_s=30.0
        )
    if code in _LOST_RACE_CODES:
        return Unavailable(
            "METADATA_STORE_UNAVAILABLE",
            "another call changes the same at this moment; try again",
            retry_after_s=_LOST_RACE_RETRY_S,
        )
    return unavailable() if _is_outage(error, sqlstate, code) else None


def sqlstate_of(error: DBAPIError) -> str:
    """Return PostgreSQL's code for `error`; empty where there is none."""
    return getattr(error.orig, "sqlstate", None) or ""


def _is_outage(error: DBAPIError, sqlstate: str, code: str) -> bool:
    if error.connection_invalidated:
        return True
    if sqlstate:
        return sqlstate[:2] in _OUTAGE_CLASSES or sqlstate in _OUTAGE_CODES
    if code in _OUR_MISTAKE_CODES or isinstance(error, IntegrityError):
        return False
    # another server has migrated while this one knew the tables as they were; its next try sees them anew
    if type(error.orig).__name__ == "InvalidCachedStatementError":
        return True
    # DatabaseError itself, none of its more specific children: a damaged file, or not a database
    return isinstance(error, OperationalError) or type(error).__name__ in {"DatabaseError", "DBAPIError"}


@contextmanager
def translated(*, is_connecting: bool = False) -> Iterator[None]:
    """Raise `Unavailable` or `ResourceExhausted` for failures of the database inside the block.

    Drivers let an `OSError` through when they cannot connect. Elsewhere it is the caller's own.
    """
    try:
        yield
    except SQLAlchemyError as error:
        meaning = translate(error)
        if meaning is None and is_connecting and isinstance(error, InterfaceError):
            meaning = unavailable()  # the driver cannot connect as the URL says
        if meaning is None:
            raise
        sqlstate = sqlstate_of(error) if isinstance(error, DBAPIError) else ""
        _log(meaning, error, sqlstate)
        raise meaning from error
    except (OSError, sqlite3.Error) as error:
        if not is_connecting:
            raise
        meaning = unavailable()
        _log(meaning, error, "")
        raise meaning from error


def _log(meaning: RagError, error: Exception, sqlstate: str) -> None:
    known = {"sqlstate": sqlstate} if sqlstate else {}
    _LOG.warning("metadata store failed", reason=meaning.reason, where=where_raised(error), **known)
