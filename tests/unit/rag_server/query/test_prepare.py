"""Which revisions a request waits for, and for how long."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from rag_server.domain.retrieval import RetrievalRequest
from rag_server.domain.time_limit import TimeLimit
from rag_server.errors import FailedPrecondition, NotFound
from rag_server.metadata.database import Database
from tests.unit.rag_server.query.rig import BOTH_ENGINES, TENANT, Rig, documents

FAR = 600.0


def caller(seconds: float) -> TimeLimit:
    return TimeLimit(time.monotonic() + seconds, is_callers=True)


def server(seconds: float) -> TimeLimit:
    return TimeLimit(time.monotonic() + seconds, is_callers=False)


@BOTH_ENGINES
async def test_min_revision_that_is_there_is_not_waited_for(rig: Rig) -> None:
    await rig.put("heron", "grey heron")
    result = await rig.ask(min_revisions=(("books", 1),), retrieval=rig.new_retrieval(patience_s=0))
    assert result.collection_revisions == {"books": 1}


@BOTH_ENGINES
async def test_min_revision_of_a_later_commit_is_waited_for(rig: Rig) -> None:
    await rig.put("heron", "grey heron")
    waiting = asyncio.create_task(rig.ask(min_revisions=(("books", 2),)))
    await asyncio.sleep(0)
    await rig.put("crane", "white crane and heron")
    result = await waiting
    assert result.collection_revisions == {"books": 2}
    assert set(documents(result)) == {"heron", "crane"}


async def test_min_revision_made_by_another_process_is_found(rig: Rig, tmp_path: Path) -> None:
    await rig.put("heron", "grey heron")
    await rig.ask()
    other = await Database.open(f"sqlite+aiosqlite:///{tmp_path / 'metadata.db'}")
    collection = await rig.collection()
    async with other.transaction() as tx:
        await tx.documents.delete(TENANT, collection.uid, "heron")
    await other.close()
    result = await rig.ask(min_revisions=(("books", 2),))
    assert result.collection_revisions == {"books": 2}
    assert documents(result) == []


@pytest.mark.parametrize(
    ("patience_s", "limit"),
    [
        (0.0, None),
        (0.0, server(FAR)),
        (FAR, server(0)),
        (FAR, caller(0)),
        (0.1, None),
        (FAR, caller(0.1)),
    ],
)
async def test_min_revision_not_reached_in_time_is_named(
    rig: Rig, patience_s: float, limit: TimeLimit | None
) -> None:
    await rig.put("heron", "grey heron")
    with pytest.raises(FailedPrecondition) as caught:
        await rig.ask(
            min_revisions=(("books", 9),), retrieval=rig.new_retrieval(patience_s=patience_s), limit=limit
        )
    assert caught.value.reason == "REVISION_NOT_REACHED"
    assert caught.value.metadata == {"collection": "books", "revision": "1"}
    assert rig.embedder.batches == []


async def test_min_revision_the_callers_own_deadline_counts_not_our_patience(rig: Rig) -> None:
    retrieval = rig.new_retrieval(patience_s=0)
    waiting = asyncio.create_task(
        rig.ask(min_revisions=(("books", 1),), retrieval=retrieval, limit=caller(FAR))
    )
    await asyncio.sleep(0)
    await rig.put("heron", "grey heron")
    assert documents(await waiting) == ["heron"]


async def test_min_revisions_of_several_collections_name_the_one_that_is_missing(rig: Rig) -> None:
    await rig.make("more")
    await rig.put("heron", "grey heron")
    with pytest.raises(FailedPrecondition) as caught:
        await rig.ask(
            "heron",
            "books",
            "more",
            min_revisions=(("more", 1), ("books", 1)),
            retrieval=rig.new_retrieval(patience_s=0),
        )
    assert caught.value.metadata == {"collection": "more", "revision": "0"}


async def test_min_revision_of_a_collection_deleted_meanwhile_is_not_found(rig: Rig) -> None:
    waiting = asyncio.create_task(rig.ask(min_revisions=(("books", 1),)))
    await asyncio.sleep(0)
    async with rig.database.transaction() as tx:
        await tx.collections.delete(TENANT, "books")
    with pytest.raises(NotFound):
        await waiting


async def test_min_revision_of_a_batch_is_waited_for(rig: Rig) -> None:
    waiting = asyncio.create_task(
        rig.ask_all(
            RetrievalRequest(("books",), "heron", min_revisions=(("books", 1),)),
            RetrievalRequest(("books",), "grey"),
        )
    )
    await asyncio.sleep(0)
    await rig.put("heron", "grey heron")
    assert [documents(each) for each in await waiting] == [["heron"], ["heron"]]
