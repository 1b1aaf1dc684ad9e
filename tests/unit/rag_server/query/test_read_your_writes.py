"""Waiting for a revision: asks anew each time, however long the answer was remembered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from rag_server.domain.change import CollectionChange
from rag_server.domain.collection import Collection
from rag_server.errors import FailedPrecondition
from rag_server.query.read_your_writes import reach
from tests.unit.rag_server.query.conftest import make_collection


class Remembering:
    """Answers from memory until something is announced; the database is a revision ahead each time."""

    def __init__(self) -> None:
        self.remembered: Collection | None = None
        self.revision = 3
        self.readings = 0

    async def get_collections(self, tenant_id: str, collection_ids: Sequence[str]) -> list[Collection]:
        if self.remembered is None:
            self.readings += 1
            self.revision += 1
            self.remembered = replace(make_collection(), revision=self.revision)
        return [self.remembered]

    def announce(self, changes: Sequence[CollectionChange]) -> None:
        (change,) = changes
        collection = make_collection()
        assert (change.collection_id, change.collection_uid) == (collection.id, collection.uid)
        assert change.revision == self.revision
        self.remembered = None


async def test_reach_what_is_there_asks_nobody() -> None:
    directory = Remembering()
    collection = make_collection()
    assert await reach(directory, collection, 3, end=time.monotonic() - 1) is collection
    assert directory.readings == 0


async def test_reach_asks_until_it_is_there() -> None:
    directory = Remembering()
    reached = await reach(directory, make_collection(), 6, end=time.monotonic() + 600)
    assert reached.revision == 6
    assert directory.readings == 3


async def test_reach_past_the_end_says_how_far_the_collection_is() -> None:
    with pytest.raises(FailedPrecondition, match="is at revision 3, not yet at 6") as caught:
        await reach(Remembering(), make_collection(), 6, end=time.monotonic())
    assert (caught.value.reason, caught.value.metadata["revision"]) == ("REVISION_NOT_REACHED", "3")


async def test_reach_does_not_wait_for_a_slow_database_beyond_the_end() -> None:
    class Hanging(Remembering):
        async def get_collections(self, tenant_id: str, collection_ids: Sequence[str]) -> list[Collection]:
            await asyncio.Event().wait()
            raise AssertionError

    with pytest.raises(FailedPrecondition) as caught:
        async with asyncio.timeout(60):
            await reach(Hanging(), make_collection(), 6, end=time.monotonic() + 0.2)
    assert caught.value.reason == "REVISION_NOT_REACHED"
