"""Remembers between two runs which collections were asked last."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import structlog

from rag_server.domain.collection import Collection

_log = structlog.get_logger(__name__)
_RESOLUTION_S: Final = 60
"""Uses within this time are one: the file is not written for every query."""
_KEPT: Final = 1_000
"""Collections that are remembered: as many as can be asked for at start."""


@dataclass(frozen=True, slots=True)
class Use:
    """The last use of a collection."""

    tenant_id: str
    collection_id: str
    collection_uid: str
    time: int
    """Seconds since the epoch."""


class LastUsed:
    """A small file. What is in it is a hint: when it is lost or damaged, nothing is brought back at start.

    Thread-safe.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._uses: dict[str, Use] = {}
        self._written: dict[str, Use] = {}

    def read(self) -> list[Use]:
        """Return the collections of the last run, the one used last first. Blocks."""
        try:
            uses = [_use(entry) for entry in json.loads(self._path.read_bytes())]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, KeyError) as error:
            _log.warning("uses of the last run cannot be read", why=type(error).__name__)
            return []
        with self._lock:
            self._written = {use.collection_uid: use for use in uses}
            self._uses = self._written | self._uses
        return _latest_first(uses)

    def remember(self, uses: Iterable[tuple[Collection, float]]) -> None:
        """Take note of the last use of each collection, beside those that were remembered."""
        with self._lock:
            for collection, used_at in uses:
                rounded = int(used_at // _RESOLUTION_S) * _RESOLUTION_S
                use = Use(collection.tenant_id, collection.id, collection.uid, rounded)
                self._uses[collection.uid] = use
            if len(self._uses) > _KEPT:
                latest = _latest_first(self._uses.values())[:_KEPT]
                self._uses = {use.collection_uid: use for use in latest}

    def forget(self, collection_uid: str) -> None:
        """Leave out a collection that is gone."""
        with self._lock:
            self._uses.pop(collection_uid, None)

    def write(self) -> None:
        """Write what has changed since the last time, if anything has. Blocks; call it one at a time."""
        with self._lock:
            uses = dict(self._uses)
        if uses == self._written:
            return
        temporary = self._path.with_suffix(".tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps([asdict(use) for use in uses.values()]))
            temporary.replace(self._path)
        except OSError as error:
            _log.warning("uses cannot be remembered", why=error.strerror)
            return
        self._written = uses


def _use(entry: dict[str, str | int]) -> Use:
    """Return what `asdict` has made of a use. Raises `ValueError`, `TypeError`, `KeyError`."""
    return Use(
        str(entry["tenant_id"]),
        str(entry["collection_id"]),
        str(entry["collection_uid"]),
        int(entry["time"]),
    )


def _latest_first(uses: Iterable[Use]) -> list[Use]:
    return sorted(uses, key=lambda use: -use.time)
