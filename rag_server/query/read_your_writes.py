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
"""Left of the caller's time for the error to arrive in, at least."""
_MARGIN_SHARE: Final = 0.1
"""Of the time that there is to wait: on a busy machine the error takes longer to arrive."""


class Directory(Protocol):
    """Knows the collections."""

    async def get_collections(self, tenant_id: str, collection_ids: Sequence[str]) -> list[Collection]: ...

    def announce(self, changes: Sequence[CollectionChange]) -> None: ...


async def reach(directory: Directory, collection: Collection, revision: int, *, end: float) -> Collection:
    """Return `collection` once its revision is at least `revision`.

    Asks the database again and again, since another replica may have made the revision. Raises `NotFound`,
    and `FailedPrecondition` (`REVISION_NOT_REACHED`) shortly before `end`, on the clock of `time.monotonic`.
    """
    if collection.revision >= revision:
        return collection
    left = end - time.monotonic()
    timer = asyncio.timeout(left - max(_MARGIN_S, _MARGIN_SHARE * left))
    pause = _POLL_S
    try:
        # around the question to the database too: that may take longer than what is left
        async with timer:
            while collection.revision < revision:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_POLL_S)
                # what is remembered may be of this process's own commits only
                known = CollectionChange(
                    collection.tenant_id, collection.id, collection.uid, collection.revision
                )
                directory.announce([known])
                (collection,) = await directory.get_collections(collection.tenant_id, [collection.id])
    except TimeoutError as error:
        if not timer.expired():
            raise
        raise FailedPrecondition(
            "REVISION_NOT_REACHED",
            f"collection {collection.id!r} is at revision {collection.revision}, not yet at {revision}: "
            "ask again later, or with a revision that a write has returned",
            metadata={"collection": collection.id, "revision": str(collection.revision)},
        ) from error
    return collection
