from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from structlog.testing import capture_logs

from rag_server.domain.collection import Collection
from rag_server.domain.stored import StoredChunks
from rag_server.errors import NotFound, Unavailable
from rag_server.metadata import changes
from rag_server.query.resident import collection as collection_module
from rag_server.query.resident import merging
from rag_server.query.resident.collection import LoadSource, ResidentCollection
from rag_server.query.resident.found import ResidentFound
from rag_server.query.resident.masks import MaskCache
from rag_server.query.resident.merging import choose_merge, merge_parts
from rag_server.query.resident.retriever import ResidentRetriever
from rag_server.query.resident.snapshot import SnapshotFolder
from rag_server.query.resident.upkeep import Upkeep
from tests.unit.rag_server.query.resident.resident_library import (
    BOTH,
    Answer,
    FlakyStore,
    Shelf,
    answer_of,
    assert_same,
    assert_same_answer,
    document,
    find,
)

NAMES = "abcdefgh"


def documents_in(resident: ResidentCollection) -> set[tuple[str, int]]:
    """Return document and revision of what readers see."""
    found = answer_of(find(resident.collection, resident.state))
    rows = set()
    for part in resident.state.parts:
        ids, revisions = part.segment.documents.ids.to_list(), part.segment.documents.revisions.tolist()
        for row, own in enumerate(part.segment.row_documents):
            if part.alive is None or part.alive[row]:
                rows.add((ids[own], revisions[own]))
    assert len(found) == resident.state.alive_count
    return rows


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a store that was down be asked again at once."""
    monkeypatch.setattr(collection_module, "_RETRY_S", 0.0)


class Hooked(FlakyStore):
    """Runs what a test says before the next reading of passages."""

    def __init__(self) -> None:
        super().__init__()
        self.before_read: list[Callable[[], object]] = []

    async def read_chunks(self, collection: Collection, chunk_ids: Sequence[str]) -> StoredChunks:
        await self._run()
        return await super().read_chunks(collection, chunk_ids)

    async def scan(self, collection: Collection) -> AsyncGenerator[StoredChunks, None]:
        await self._run()
        async for batch in super().scan(collection):
            yield batch

    async def _run(self) -> None:
        if self.before_read:
            await self.before_read.pop(0)()  # type: ignore[misc]  # what it returns can be awaited


@pytest.fixture
def store() -> Hooked:
    return Hooked()


# --- loading


async def test_collection_loads_what_is_visible(shelf: Shelf) -> None:
    await shelf.put(*(document(name) for name in "abc"), is_swept=False)
    await shelf.put(document("a", seed=1), document("b", seed=1, passages=0), is_swept=False)
    resident = shelf.resident()
    assert resident.last_load is None
    await resident.load()
    assert resident.state.revision == 5
    assert documents_in(resident) == {("a", 2), ("c", 1)}
    assert_same(shelf.collection, resident.state, shelf.rebuilt())
    assert resident.last_load is not None
    assert (resident.last_load.source, resident.last_load.revision) == (LoadSource.STORE, 5)


async def test_collection_loads_what_changes_while_it_is_read(shelf: Shelf, store: Hooked) -> None:
    await shelf.put(*(document(name) for name in "abc"))
    store.before_read = [partial(shelf.put, document("b", seed=1))]
    resident = shelf.resident()
    with capture_logs() as logs:
        await resident.load()
    assert documents_in(resident) == {("a", 1), ("b", 2), ("c", 1)}
    assert resident.state.revision == 4
    assert_same(shelf.collection, resident.state, shelf.rebuilt())
    assert not [entry for entry in logs if entry["log_level"] == "error"]


async def test_collection_load_says_what_the_store_lacks_and_serves_the_rest(shelf: Shelf) -> None:
    await shelf.put(document("a"), document("b"))
    await shelf.store.delete_document("acme", shelf.collection.uid, "b")
    resident = shelf.resident()
    with capture_logs() as logs:
        await resident.load()
    assert [(entry["event"], entry["count"]) for entry in logs if entry["log_level"] == "error"] == [
        ("the store lacks passages", 3)
    ]
    assert documents_in(resident) == {("a", 1)}


@pytest.mark.parametrize("damage", ["store down", "deleted"])
async def test_collection_that_cannot_be_loaded_is_not_there(shelf: Shelf, damage: str) -> None:
    await shelf.put(document("a"))
    resident = shelf.resident()
    if damage == "deleted":
        await shelf.drop()
    else:
        shelf.store.is_down = True
    with pytest.raises(NotFound if damage == "deleted" else Unavailable):
        await resident.load()
    assert resident.last_load is None


# --- catching up


async def test_collection_catches_up_with_increments_alone(shelf: Shelf) -> None:
    await shelf.put(*(document(name) for name in "abcd"))
    resident = await shelf.loaded()
    scans = shelf.store.scan_count
    await shelf.put(document("a", seed=1), document("e"))
    await shelf.delete("b")
    assert await resident.catch_up(shelf.collection.revision)
    assert documents_in(resident) == {("a", 2), ("c", 1), ("d", 1), ("e", 1)}
    assert_same(shelf.collection, resident.state, shelf.rebuilt())
    assert shelf.store.scan_count == scans
    reads = shelf.store.read_count
    assert await resident.catch_up(shelf.collection.revision)
    assert shelf.store.read_count == reads


async def test_collection_across_a_gap_in_the_log_is_read_anew(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "KEPT_REVISIONS", 2)
    monkeypatch.setattr(changes, "PRUNING_INTERVAL", 1)
    await shelf.put(document("a"), document("b"))
    resident = await shelf.loaded()
    for seed in range(4):
        await shelf.put(document("a", seed))
    await shelf.delete("b")
    assert await resident.catch_up(shelf.collection.revision)
    assert shelf.store.scan_count == 2
    assert documents_in(resident) == {("a", 5)}
    assert_same(shelf.collection, resident.state, shelf.rebuilt())


async def test_collection_document_replaced_while_it_is_read_is_looked_at_again(
    shelf: Shelf, store: Hooked
) -> None:
    await shelf.put(document("a"))
    resident = await shelf.loaded()
    await shelf.put(document("b"))
    store.before_read = [partial(shelf.put, document("b", seed=1)), partial(shelf.delete, "b")]
    with capture_logs() as logs:
        assert await resident.catch_up(2)
    assert documents_in(resident) == {("a", 1)}
    assert resident.state.revision == 4
    assert logs == []


async def test_collection_whose_documents_change_all_the_time_is_stale(shelf: Shelf, store: Hooked) -> None:
    """It answers with what it has, but for what was deleted."""
    await shelf.put(document("a"), document("x"))
    resident = await shelf.loaded()
    await shelf.delete("x")
    await shelf.put(document("b"))
    store.before_read = [partial(shelf.put, document("b", seed)) for seed in range(10)]
    assert not await resident.catch_up(4)
    assert documents_in(resident) == {("a", 1)}
    store.before_read.clear()
    assert await resident.catch_up(shelf.collection.revision)
    assert_same(shelf.collection, resident.state, shelf.rebuilt())


async def test_collection_catching_up_with_what_the_store_lacks_serves_the_rest(shelf: Shelf) -> None:
    """It would never be searched again otherwise."""
    await shelf.put(document("a"))
    resident = await shelf.loaded()
    await shelf.put(document("b"), document("c"))
    await shelf.store.delete_document("acme", shelf.collection.uid, "b")
    with capture_logs() as logs:
        assert await resident.catch_up(3)
    assert [entry["count"] for entry in logs if entry["log_level"] == "error"] == [3]
    assert documents_in(resident) == {("a", 1), ("c", 1)}


async def test_collection_that_was_deleted_is_not_found(shelf: Shelf) -> None:
    await shelf.put(document("a"))
    resident = await shelf.loaded()
    await shelf.drop()
    for _ in range(2):
        with pytest.raises(NotFound):
            await resident.catch_up(2)


async def test_collection_asked_for_a_revision_that_is_not_there_says_so(shelf: Shelf) -> None:
    await shelf.put(document("a"))
    resident = await shelf.loaded()
    assert not await resident.catch_up(7)
    assert resident.state.revision == 1


# --- while the store is down


async def test_collection_while_the_store_is_down_lacks_what_was_deleted(shelf: Shelf) -> None:
    await shelf.put(*(document(name) for name in "abcd"))
    resident = await shelf.loaded()
    await shelf.put(document("a", seed=1), document("e"))
    await shelf.delete("b")
    shelf.store.is_down = True
    with capture_logs() as logs:
        assert not await resident.catch_up(shelf.collection.revision)
    assert [entry["event"] for entry in logs] == ["collection in memory is behind"]
    assert documents_in(resident) == {("a", 1), ("c", 1), ("d", 1)}
    assert resident.state.revision == 4


async def test_collection_while_the_store_is_down_lacks_also_what_is_deleted_later(shelf: Shelf) -> None:
    """The store is not asked again so soon, the metadata are."""
    await shelf.put(*(document(name) for name in "abc"))
    resident = await shelf.loaded()
    await shelf.put(document("d"))
    shelf.store.is_down = True
    assert not await resident.catch_up(4)
    await shelf.delete("b")
    assert not await resident.catch_up(5)
    assert documents_in(resident) == {("a", 1), ("c", 1)}
    await shelf.delete("c")
    await shelf.put(document("c", seed=1))  # what was deleted does not come back with it
    assert not await resident.catch_up(7)
    assert documents_in(resident) == {("a", 1)}


@pytest.mark.usefixtures("no_pause")
async def test_collection_recovers_with_the_store(shelf: Shelf) -> None:
    await shelf.put(*(document(name) for name in "abc"))
    resident = await shelf.loaded()
    await shelf.delete("b")
    await shelf.put(document("a", seed=1))
    shelf.store.is_down = True
    assert not await resident.catch_up(5)
    assert not await resident.catch_up(5)
    shelf.store.is_down = False
    await shelf.put(document("b", seed=2))
    assert await resident.catch_up(6)
    assert_same(shelf.collection, resident.state, shelf.rebuilt())


async def test_collection_that_is_behind_asks_the_store_after_a_pause_only(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shelf.put(document("a"))
    resident = await shelf.loaded()
    await shelf.put(document("b"))
    shelf.store.is_down = True
    assert not await resident.catch_up(2)
    shelf.store.is_down = False
    now = resident._retry_at - 0.01
    monkeypatch.setattr("rag_server.query.resident.collection.time.monotonic", lambda: now)
    assert not await resident.catch_up(2)
    assert shelf.store.read_count == 0
    now += 0.01
    assert await resident.catch_up(2)
    assert shelf.store.read_count == 1


async def test_collection_loads_a_snapshot_while_the_store_is_down(
    shelf: Shelf, snapshots: SnapshotFolder
) -> None:
    await shelf.put(document("a"), document("b"))
    snapshots.save(shelf.collection, (await shelf.loaded()).state)
    await shelf.put(document("a", seed=1))
    await shelf.delete("b")
    shelf.store.is_down = True
    resident = await shelf.loaded(snapshots)
    assert documents_in(resident) == {("a", 1)}
    assert not await resident.catch_up(4)


# --- snapshots


async def test_collection_loaded_from_a_snapshot_catches_up(shelf: Shelf, snapshots: SnapshotFolder) -> None:
    await shelf.put(*(document(name) for name in "abc"))
    snapshots.save(shelf.collection, (await shelf.loaded()).state)
    await shelf.put(document("a", seed=1), document("d"))
    await shelf.delete("b")
    scans = shelf.store.scan_count
    resident = await shelf.loaded(snapshots)
    assert resident.last_load is not None
    assert (resident.last_load.source, resident.last_load.revision) == (LoadSource.SNAPSHOT, 3)
    assert resident.state.revision == 6
    assert shelf.store.scan_count == scans
    assert_same(shelf.collection, resident.state, shelf.rebuilt())
    await shelf.put(document("e"))
    assert await resident.catch_up(7)
    assert_same(shelf.collection, resident.state, shelf.rebuilt())


async def test_collection_whose_snapshot_is_too_old_is_read_from_the_store(
    shelf: Shelf, snapshots: SnapshotFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "KEPT_REVISIONS", 2)
    monkeypatch.setattr(changes, "PRUNING_INTERVAL", 1)
    await shelf.put(document("a"))
    snapshots.save(shelf.collection, (await shelf.loaded()).state)
    for seed in range(4):
        await shelf.put(document("b", seed))
    resident = await shelf.loaded(snapshots)
    assert resident.last_load is not None
    assert resident.last_load.source is LoadSource.STORE
    assert_same(shelf.collection, resident.state, shelf.rebuilt())


# --- many at once


async def test_collection_that_many_wait_for_is_read_once(shelf: Shelf, store: Hooked) -> None:
    await shelf.put(document("a"))
    resident = await shelf.loaded()
    await shelf.put(document("b"))
    assert all(await asyncio.gather(*(resident.catch_up(2) for _ in range(20))))
    assert store.read_count == 1


async def test_collection_catching_up_goes_on_when_who_asked_leaves(shelf: Shelf, store: Hooked) -> None:
    """Else short deadlines could keep it behind for ever."""
    await shelf.put(document("a"))
    resident = await shelf.loaded()
    await shelf.put(document("b"))
    reached, going_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        reached.set()
        await going_on.wait()

    store.before_read = [wait]
    first, second = (asyncio.create_task(resident.catch_up(2)) for _ in range(2))
    await reached.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    going_on.set()
    assert await second
    assert store.read_count == 1


async def test_collection_revision_made_while_others_catch_up_is_reached_too(
    shelf: Shelf, store: Hooked
) -> None:
    await shelf.put(document("a"))
    resident = await shelf.loaded()
    await shelf.put(document("b"))
    reached, going_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        reached.set()
        await going_on.wait()

    store.before_read = [wait]
    early = asyncio.create_task(resident.catch_up(2))
    await reached.wait()
    await shelf.put(document("c"))
    late = asyncio.create_task(resident.catch_up(3))
    await asyncio.sleep(0)
    going_on.set()
    assert all(await asyncio.gather(early, late))
    assert resident.state.revision == 3


async def test_collection_closed_while_it_catches_up_leaves_no_task(shelf: Shelf, store: Hooked) -> None:
    await shelf.put(document("a"))
    resident = await shelf.loaded()
    await shelf.put(document("b"))
    reached = asyncio.Event()

    async def wait() -> None:
        reached.set()
        await asyncio.Event().wait()

    store.before_read = [wait]
    asking = asyncio.create_task(resident.catch_up(2))
    await reached.wait()
    await resident.close()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert {task.get_name() for task in asyncio.all_tasks()} == {asyncio.current_task().get_name()}  # type: ignore[union-attr]
    assert resident.state.revision == 1
    assert await resident.catch_up(2)


async def test_collection_merged_while_it_changes_loses_nothing(shelf: Shelf) -> None:
    for name in "abcd":
        await shelf.put(document(name))
    resident = await shelf.loaded()
    for name in "efgh":
        await shelf.put(document(name))
        await resident.catch_up(shelf.collection.revision)
    parts = choose_merge(resident.state)
    merged = merge_parts(parts, lambda: False)
    assert merged is not None
    await shelf.put(document("e", seed=1), document("i"))
    await shelf.delete("f")
    await resident.catch_up(shelf.collection.revision)
    await resident.exchange(parts, merged)
    assert_same(shelf.collection, resident.state, shelf.rebuilt())
    assert merged.id in [part.segment.id for part in resident.state.parts]


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize("seed", range(4))
async def test_collection_after_any_changes_is_searched_like_one_made_anew(
    shelf: Shelf, snapshots: SnapshotFolder, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "_AT_ONCE", 3 + 2 * seed)
    chance = random.Random(seed)  # noqa: S311 - the same each time
    upkeep = Upkeep(snapshots, quiet_s=0.0)
    resident = await shelf.loaded(snapshots)
    for step in range(14):
        match chance.choice(["put", "put", "put", "delete", "catch up", "tend", "save", "load", "outage"]):
            case "put":
                names = chance.sample(NAMES, chance.randint(1, 3))
                await shelf.put(*(document(name, step, chance.randint(0, 4)) for name in names))
            case "delete" if shelf.visible:
                await shelf.delete(chance.choice(sorted(shelf.visible)))
            case "catch up":
                assert await resident.catch_up(shelf.collection.revision)
                assert_same(shelf.collection, resident.state, shelf.rebuilt())
            case "tend":
                await upkeep.tend(resident)
            case "save":
                await upkeep.save(resident)
            case "load":
                resident = await shelf.loaded(snapshots)
            case "outage":
                shelf.store.is_down = True
                is_current = await resident.catch_up(shelf.collection.revision)
                assert {name for name, _ in documents_in(resident)} <= shelf.visible.keys()
                shelf.store.is_down = False
                assert is_current == (resident.state.revision == shelf.collection.revision)
    assert await resident.catch_up(shelf.collection.revision)
    assert_same(shelf.collection, resident.state, shelf.rebuilt())
    await upkeep.close()


async def tend(upkeep: Upkeep, resident: ResidentCollection, is_over: Callable[[], bool]) -> None:
    while not is_over():
        await upkeep.tend(resident)
        await asyncio.sleep(0.02)


async def test_collection_read_by_many_while_two_write_answers_as_of_one_revision(
    shelf: Shelf, executor: ThreadPoolExecutor, snapshots: SnapshotFolder
) -> None:
    """Each answer is the one of some revision, whole; what one reader sees never goes back."""
    await shelf.put(document("a"), document("b"))
    resident = await shelf.loaded()
    upkeep = Upkeep(snapshots, quiet_s=0.0)
    masks = MaskCache(10_000)
    expected: dict[int, Answer] = {}
    head = 2
    is_written = False

    def remember() -> None:
        nonlocal head
        head = shelf.collection.revision
        expected[head] = answer_of(find(shelf.collection, shelf.rebuilt()))

    remember()
    one_writes = asyncio.Lock()  # between two commits the answer is worked out, which takes both

    async def write(own: str) -> None:
        for seed in range(1, 5):
            async with one_writes:
                if seed % 3 == 0 and own[0] in shelf.visible:
                    await shelf.delete(own[0])
                else:
                    await shelf.put(document(own[seed % len(own)], seed), is_swept=seed % 2 == 0)
                remember()
            await asyncio.sleep(0)

    async def read() -> list[ResidentFound]:
        seen: list[ResidentFound] = []
        retriever = ResidentRetriever(resident, shelf.collection, lambda uid: head, masks, executor)
        while not is_written or not seen:
            wanted = head
            (found,) = await retriever.search([BOTH])
            assert isinstance(found, ResidentFound)
            assert not found.is_stale
            assert found.revision >= wanted
            seen.append(found)
            await asyncio.sleep(0.1)  # the machine is for the writers, too
        return seen

    async def write_both() -> None:
        nonlocal is_written
        await asyncio.gather(write("acd"), write("bef"))
        is_written = True

    *all_seen, _, _ = await asyncio.gather(
        *(read() for _ in range(50)), tend(upkeep, resident, lambda: is_written), write_both()
    )
    await upkeep.close()
    for seen in all_seen:
        assert seen is not None
        revisions = [found.revision for found in seen]
        assert revisions == sorted(revisions)
    # a reader keeps what it found, whatever happened since
    latest = {(found.revision, reader): found for reader, seen in enumerate(all_seen) for found in seen or ()}
    for (revision, _), found in latest.items():
        assert_same_answer(answer_of(found), expected[revision])
    assert len({revision for revision, _ in latest}) > 1
    assert await resident.catch_up(head)
    assert_same(shelf.collection, resident.state, shelf.rebuilt())
