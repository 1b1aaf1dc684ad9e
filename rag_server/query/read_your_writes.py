"""Waits until a collection has come as far as a caller knows it has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final, Protocol

from rag_server.domain.change import CollectionChange
from rag_server.domain.collection import Collection
from rag_server.errors import FailedPrecondition

_POLL_S: Final = 0.02
_LONGEST_POLL_S: Final = 0.5
_MARGIN_S: Final = 0.05
"""Left of the caller's time for the error to arrive in."""


class Directory(Protocol):
    """Knows the collections."""

    async def get_collections(self, tenant_id: str, collection_ids: Sequence[str]) -> list[Collection]: ...

    def announce(self, changes: Sequence[CollectionChange]) -> None: ...


async def reach(directory: Directory, collection: Collection, revision: int, *, end: float) -> Collection:
    """Return `collection` once its revision is at least `revision`.

    Asks the database again and again, since another replica may have made the revision. Raises `NotFound`,
    and `FailedPrecondition` (`REVISION_NOT_REACHED`) shortly before `end`, on the clock of `time.monotonic`.
    """
    pause = _POLL_S
    while collection.revision < revision:
        left = end - _MARGIN_S - time.monotonic()
        if left <= 0:
            raise FailedPrecondition(
                "REVISION_NOT_REACHED",
                f"collection {collection.id!r} is at revision {collection.revision}, not yet at {revision}: "
                "ask again later, or with a revision that a write has returned",
                metadata={"collection": collection.id, "revision": str(collection.revision)},
            )
        await asyncio.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_POLL_S)
        # what is remembered may be of this process's own commits only
        directory.announce(
            [CollectionChange(collection.tenant_id, collection.id, collection.uid, collection.revision)]
        )
        (collection,) = await directory.get_collections(collection.tenant_id, [collection.id])
    return collection
