from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rag_server.domain.change import CollectionChange
from rag_server.domain.collection import Collection
from rag_server.domain.stored import StoredChunks
from rag_server.metadata.database import Database
from rag_server.query.resident import pool as pool_module
from rag_server.query.resident.collection import LoadSource, ResidentCollection
from rag_server.query.resident.last_used import LastUsed
from rag_server.query.resident.pool import PoolLimits, ResidentPool
from rag_server.query.resident.snapshot import SnapshotFolder
from rag_server.query.resident.source import CollectionSource
from rag_server.query.resident.upkeep import Upkeep
from tests.unit.rag_server.query.resident.resident_library import (
    TENANT,
    FlakyStore,
    Shelf,
    assert_same,
    document,
)


class GatedStore(FlakyStore):
    """Lets a collection be read only when a test says so, if it wants to say."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []
        self.running = 0
        self.most_running = 0
        self.gate: asyncio.Event | None = None
        self.failures: list[Exception] = []

    async def scan(self, collection: Collection) -> AsyncGenerator[StoredChunks, None]:
        self.order.append(collection.id)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(0.01)
            if self.failures:
                raise self.failures.pop(0)
            async for batch in super().scan(collection):
                yield batch
        finally:
            self.running -= 1


class Clock:
    """Both clocks of the pool, which go on when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now

    monotonic = time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(pool_module, "time", made)
    return made


@pytest.fixture
def store() -> GatedStore:
    return GatedStore()


@pytest.fixture
def remembered(tmp_path: Path) -> Callable[[], list[str]]:
    """Return what reads the collections that the next run would bring back, the one used last first."""
    return lambda: [use.collection_id for use in LastUsed(tmp_path / "last_used.json").read()]


Make = Callable[..., ResidentPool]
Remembered = Callable[[], list[str]]


@pytest.fixture
async def make_pool(
    database: Database, store: GatedStore, snapshots: SnapshotFolder, tmp_path: Path
) -> AsyncIterator[Make]:
    made: list[ResidentPool] = []

    def make(memory_bytes: int = 1 << 30, ttl_s: float = 600.0, *, follows: bool = True) -> ResidentPool:
        pool = ResidentPool(
            CollectionSource(database, store),
            snapshots,
            LastUsed(tmp_path / "last_used.json"),
            PoolLimits(memory_bytes, ttl_s),
            Upkeep(snapshots, quiet_s=0.0),
        )
        if follows:
            database.on_collections_changed(pool.announce)
        made.append(pool)
        return pool

    yield make
    for pool in made:
        await pool.close()


@pytest.fixture
async def shelves(database: Database, store: GatedStore) -> dict[str, Shelf]:
    """Return three collections of one size."""
    made = {name: await Shelf.make(database, store, name) for name in ("red", "green", "blue")}
    for shelf in made.values():
        await shelf.put(document("a", passages=8))
    return made


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not is_so():  # noqa: ASYNC110 - whatever it is
            await asyncio.sleep(0.001)


async def brought(pool: ResidentPool, shelf: Shelf) -> ResidentCollection:
    """Ask for a collection until it is in memory."""
    pool.get(shelf.collection)
    await until(lambda: shelf.collection.id in serving(pool))
    resident = pool.get(shelf.collection)
    assert resident is not None
    return resident


def serving(pool: ResidentPool) -> list[str]:
    """Return the collections in memory, the one used last at the end."""
    entries = pool.entries(TENANT)
    return [each.resident.collection.id for each in entries if each.resident.last_load is not None]


async def tended(pool: ResidentPool, is_so: Callable[[], object]) -> None:
    """Let the pool tend what it has until something is so."""
    running = asyncio.create_task(pool.run())
    try:
        await until(lambda: is_so() or running.done())
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@pytest.fixture
def quick_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_ROUND_S", 0.005)


# --- building


async def test_pool_brings_a_collection_into_memory_while_others_answer(
    shelves: dict[str, Shelf], store: GatedStore, make_pool: Make
) -> None:
    pool, shelf = make_pool(), shelves["red"]
    store.gate = asyncio.Event()
    for _ in range(3):
        assert pool.get(shelf.collection) is None
    await until(lambda: store.order)
    assert pool.get(shelf.collection) is None
    assert serving(pool) == []
    assert len(pool.entries(TENANT)) == 1
    store.gate.set()
    resident = await brought(pool, shelf)
    assert_same(shelf.collection, resident.state, shelf.rebuilt())
    assert store.order == ["red"]
    assert pool.store_query_count(shelf.collection.uid) >= 4
    (entry,) = pool.entries(TENANT)
    assert entry.query_count == 1
    assert pool.entries("other") == []
    assert pool.nbytes == resident.state.nbytes


async def test_pool_builds_one_at_a_time_in_the_order_asked(
    shelves: dict[str, Shelf], store: GatedStore, make_pool: Make
) -> None:
    pool = make_pool()
    for shelf in shelves.values():
        pool.get(shelf.collection)
    await until(lambda: len(serving(pool)) == 3)
    assert store.order == ["red", "green", "blue"]
    assert store.most_running == 1


async def test_pool_build_that_failed_is_tried_again_after_a_pause(
    shelves: dict[str, Shelf], store: GatedStore, make_pool: Make, clock: Clock
) -> None:
    pool, shelf = make_pool(), shelves["red"]
    store.is_down = True
    with capture_logs() as logs:
        pool.get(shelf.collection)
        await until(lambda: not pool.entries(TENANT))
    assert [entry["event"] for entry in logs] == ["collection not brought into memory"]
    store.is_down = False
    clock.now += 9.9
    assert pool.get(shelf.collection) is None
    assert pool.entries(TENANT) == []
    clock.now += 0.1
    await brought(pool, shelf)


async def test_pool_build_that_broke_is_tried_again_after_a_pause(
    shelves: dict[str, Shelf], store: GatedStore, make_pool: Make, clock: Clock
) -> None:
    """Not at once, at each query."""
    pool, shelf = make_pool(), shelves["red"]
    store.failures = [ValueError("broken")]
    pool.get(shelf.collection)
    (entry,) = pool.entries(TENANT)
    with pytest.raises(ValueError, match="broken"):
        await entry.building
    assert pool.get(shelf.collection) is None
    assert pool.entries(TENANT) == []
    clock.now += 10
    await brought(pool, shelf)


# --- bounds


async def test_pool_collection_that_would_not_fit_is_not_built(
    shelves: dict[str, Shelf], store: GatedStore, make_pool: Make
) -> None:
    shelf = shelves["red"]
    pool = make_pool()
    estimate = pool.estimate_bytes(shelf.collection)
    small = make_pool(estimate - 1)
    assert small.get(shelf.collection) is None
    assert small.entries(TENANT) == []
    assert small.store_query_count(shelf.collection.uid) == 1
    await brought(make_pool(estimate), shelf)


async def test_pool_makes_room_by_what_was_asked_least_recently(
    shelves: dict[str, Shelf], make_pool: Make
) -> None:
    pool = make_pool()
    red, green, blue = shelves.values()
    await brought(pool, red)
    await brought(pool, green)
    size = pool.nbytes + pool.estimate_bytes(blue.collection)
    pool._limits = PoolLimits(size - 1, 600.0)
    assert pool.get(red.collection) is not None
    await brought(pool, blue)
    assert serving(pool) == ["red", "blue"]
    assert pool.nbytes <= size


@pytest.mark.usefixtures("quick_rounds")
async def test_pool_collection_that_grew_beyond_the_budget_goes_and_stays_out(
    shelves: dict[str, Shelf], make_pool: Make, clock: Clock
) -> None:
    """Not another one, and it is not built again at each query."""
    pool = make_pool()
    red, green, _ = shelves.values()
    await brought(pool, red)
    grown = await brought(pool, green)
    pool._limits = PoolLimits(grown.state.nbytes + 20_000, 600.0)
    await green.put(document("b", passages=200))
    await tended(pool, lambda: serving(pool) == ["red"])
    assert serving(pool) == ["red"]
    small = replace(green.collection, chunk_count=1)
    assert pool.get(small) is None
    assert serving(pool) == ["red"]
    assert len(pool.entries(TENANT)) == 1
    clock.now += 600
    pool.get(small)
    assert len(pool.entries(TENANT)) == 2


@pytest.mark.usefixtures("quick_rounds")
async def test_pool_collection_that_nobody_asks_leaves_memory(
    shelves: dict[str, Shelf], make_pool: Make, clock: Clock
) -> None:
    pool = make_pool(ttl_s=60.0)
    red, green, _ = shelves.values()
    await brought(pool, red)
    await brought(pool, green)
    clock.now += 40
    assert pool.get(red.collection) is not None
    clock.now += 20.1
    await tended(pool, lambda: serving(pool) == ["red"])
    assert serving(pool) == ["red"]
    clock.now += 40
    await tended(pool, lambda: serving(pool) == [])
    assert pool.entries(TENANT) == []


@pytest.mark.usefixtures("quick_rounds")
async def test_pool_collection_asked_while_it_is_built_has_been_used(
    shelves: dict[str, Shelf], store: GatedStore, make_pool: Make, clock: Clock
) -> None:
    """However long that takes."""
    pool, shelf = make_pool(ttl_s=60.0), shelves["red"]
    store.gate = asyncio.Event()
    pool.get(shelf.collection)
    await until(lambda: store.order)
    clock.now += 100
    pool.get(shelf.collection)
    store.gate.set()
    await until(lambda: serving(pool))
    pool._expire()
    assert serving(pool) == ["red"]


# --- following


async def test_pool_follows_commits_at_once(shelves: dict[str, Shelf], make_pool: Make) -> None:
    """Nobody need ask."""
    pool, shelf = make_pool(), shelves["red"]
    resident = await brought(pool, shelf)
    for name in "bcd":
        await shelf.put(document(name))
    await shelf.delete("b")
    await until(lambda: resident.state.revision == shelf.collection.revision)
    assert_same(shelf.collection, resident.state, shelf.rebuilt())


async def test_pool_follows_a_commit_that_comes_while_it_follows_another(
    shelves: dict[str, Shelf], make_pool: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, shelf = make_pool(follows=False), shelves["red"]
    resident = await brought(pool, shelf)
    asked: list[int] = []
    going_on = asyncio.Event()

    async def catch_up(revision: int) -> bool:
        asked.append(revision)
        await going_on.wait()
        return True

    monkeypatch.setattr(resident, "catch_up", catch_up)
    own = (TENANT, "red", shelf.collection.uid)
    pool.announce([CollectionChange(*own, 2)])
    await until(lambda: asked)
    pool.announce([CollectionChange(*own, 4), CollectionChange(*own, 3)])
    going_on.set()
    await until(lambda: len(asked) == 2)
    assert asked == [2, 4]
    await until(lambda: not pool._followers)


async def test_pool_collection_of_which_nothing_is_known_yet_is_not_followed(
    shelves: dict[str, Shelf], make_pool: Make
) -> None:
    pool = make_pool()
    await shelves["red"].put(document("b"))
    assert pool.entries(TENANT) == []
    assert not pool._followers


async def test_pool_collection_behind_while_the_store_is_down_recovers(
    shelves: dict[str, Shelf], store: GatedStore, make_pool: Make
) -> None:
    pool, shelf = make_pool(), shelves["red"]
    resident = await brought(pool, shelf)
    store.is_down = True
    with capture_logs() as logs:
        await shelf.put(document("b"))
        await until(lambda: resident._retry_at)
    assert [entry["event"] for entry in logs] == ["collection in memory is behind"]
    store.is_down = False
    resident._retry_at = 0.0
    await shelf.put(document("c"))
    await until(lambda: resident.state.revision == 3)


@pytest.mark.usefixtures("quick_rounds")
async def test_pool_lets_go_of_a_collection_that_was_deleted(
    shelves: dict[str, Shelf], make_pool: Make, snapshots: SnapshotFolder, remembered: Remembered
) -> None:
    """From memory, from the snapshots, and from what is brought back at start."""
    pool = make_pool()
    red, green, _ = shelves.values()
    for shelf in (red, green):
        await brought(pool, shelf)
    await tended(pool, lambda: len(snapshots.saved_uids()) == 2 and len(remembered()) == 2)
    await red.drop()
    assert serving(pool) == ["green"]
    await until(lambda: snapshots.saved_uids() == [green.collection.uid])
    await tended(pool, lambda: len(remembered()) == 1)
    assert remembered() == ["green"]
    assert pool.store_query_count(red.collection.uid) == 0


async def test_pool_collection_deleted_while_it_is_built_is_not_there(
    shelves: dict[str, Shelf], store: GatedStore, make_pool: Make
) -> None:
    pool, shelf = make_pool(), shelves["red"]
    store.gate = asyncio.Event()
    pool.get(shelf.collection)
    await until(lambda: store.order)
    (entry,) = pool.entries(TENANT)
    await shelf.drop()
    assert pool.entries(TENANT) == []
    await asyncio.wait([entry.building])
    assert entry.building.cancelled()
    store.gate.set()
    await brought(pool, shelves["green"])  # the next one can be built


async def test_pool_build_that_ends_late_leaves_its_successor_alone(
    shelves: dict[str, Shelf], store: GatedStore, make_pool: Make
) -> None:
    pool, shelf = make_pool(), shelves["red"]
    store.gate = asyncio.Event()
    pool.get(shelf.collection)
    await until(lambda: store.order)
    (first,) = pool.entries(TENANT)
    pool._drop(shelf.collection.uid)
    pool.get(shelf.collection)
    await asyncio.wait([first.building])
    store.gate.set()
    await until(lambda: serving(pool) == ["red"])


# --- from one run to the next


async def test_pool_preloads_in_order_as_long_as_there_is_room(
    shelves: dict[str, Shelf], store: GatedStore, make_pool: Make
) -> None:
    estimate = make_pool().estimate_bytes(shelves["red"].collection)
    pool = make_pool(3 * estimate - 1)
    order = [shelves[name].collection for name in ("blue", "red", "green")]
    pool.preload(order)
    await until(lambda: len(serving(pool)) == 2)
    assert store.order == ["blue", "red"]
    assert len(pool.entries(TENANT)) == 2


@pytest.mark.usefixtures("quick_rounds")
async def test_pool_remembers_what_was_asked_not_what_was_preloaded(
    shelves: dict[str, Shelf], make_pool: Make, remembered: Remembered, clock: Clock
) -> None:
    pool = make_pool()
    red, green, blue = shelves.values()
    pool.preload([red.collection, green.collection])
    await until(lambda: len(serving(pool)) == 2)
    assert pool.get(red.collection) is not None
    clock.now += 120
    await brought(pool, blue)
    await tended(pool, lambda: len(remembered()) == 2)
    assert remembered() == ["blue", "red"]


@pytest.mark.usefixtures("quick_rounds")
async def test_pool_of_the_next_run_starts_from_the_snapshots(
    shelves: dict[str, Shelf], store: GatedStore, make_pool: Make, snapshots: SnapshotFolder
) -> None:
    pool, shelf = make_pool(), shelves["red"]
    await brought(pool, shelf)
    await tended(pool, snapshots.saved_uids)
    await pool.close()
    (manifest,) = (snapshots._root / shelf.collection.uid).glob("manifest.json")
    before = manifest.stat().st_mtime_ns
    again = make_pool()
    resident = await brought(again, shelf)
    assert resident.last_load is not None
    assert resident.last_load.source is LoadSource.SNAPSHOT
    assert store.order == ["red"]
    assert_same(shelf.collection, resident.state, shelf.rebuilt())
    await tended(again, lambda: again._upkeep._seen)
    assert manifest.stat().st_mtime_ns == before  # it has all there is
    await shelf.put(document("b"))
    await tended(again, lambda: manifest.stat().st_mtime_ns != before)


# --- the end


async def test_pool_closed_leaves_no_task(
    shelves: dict[str, Shelf], store: GatedStore, make_pool: Make
) -> None:
    pool = make_pool()
    red, green, blue = shelves.values()
    resident = await brought(pool, blue)
    store.gate = asyncio.Event()
    pool.get(red.collection)
    pool.get(green.collection)
    await until(lambda: len(store.order) == 2)
    before = asyncio.all_tasks()
    await blue.put(document("b"))
    assert len(before) >= 3
    await pool.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert pool.get(red.collection) is None
    await blue.put(document("c"))
    await blue.drop()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert resident.state.revision <= 2


async def test_pool_tells_when_a_build_has_ended(
    shelves: dict[str, Shelf], store: GatedStore, make_pool: Make
) -> None:
    pool, shelf = make_pool(), shelves["red"]
    uid = shelf.collection.uid
    assert await pool.built(uid, None) is None
    store.gate = asyncio.Event()
    pool.get(shelf.collection)
    assert await pool.built(uid, 0.001) is None
    waiting = asyncio.create_task(pool.built(uid, None))
    await until(lambda: store.order)
    store.gate.set()
    assert await waiting is pool.get(shelf.collection)
    assert await pool.built(uid, None) is pool.get(shelf.collection)
    store.is_down = True
    pool.get(shelves["green"].collection)
    assert await pool.built(shelves["green"].collection.uid, None) is None
