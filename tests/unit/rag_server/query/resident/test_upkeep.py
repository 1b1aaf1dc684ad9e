from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rag_server.domain.collection import Collection
from rag_server.query.resident import segment as segment_module
from rag_server.query.resident.collection import LoadSource, ResidentCollection
from rag_server.query.resident.segment import Segment
from rag_server.query.resident.snapshot import SnapshotFolder
from rag_server.query.resident.state import State
from rag_server.query.resident.upkeep import Upkeep
from tests.unit.rag_server.query.resident.resident_library import Shelf, assert_same, document


@pytest.fixture
async def upkeep(snapshots: SnapshotFolder) -> AsyncIterator[Upkeep]:
    made = Upkeep(snapshots, quiet_s=0.0)
    yield made
    await made.close()


async def grow(shelf: Shelf, resident: ResidentCollection, *names: str) -> None:
    """Publish documents, a segment for each."""
    for name in names:
        await shelf.put(document(name))
        await resident.catch_up(shelf.collection.revision)


async def tend_all(upkeep: Upkeep, resident: ResidentCollection) -> int:
    """Do all there is to do; return how much it was."""
    count = 0
    while await upkeep.tend(resident):
        count += 1
    return count


async def test_upkeep_merges_small_segments(shelf: Shelf) -> None:
    upkeep = Upkeep(None)
    resident = await shelf.loaded()
    await grow(shelf, resident, *"abcd")
    assert [len(part.segment) for part in resident.state.parts] == [3] * 4
    assert await tend_all(upkeep, resident) == 1
    assert [len(part.segment) for part in resident.state.parts] == [12]
    assert_same(shelf.collection, resident.state, shelf.rebuilt())
    await upkeep.close()


async def test_upkeep_indexes_a_segment_that_is_large_enough(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_module, "CODES_THRESHOLD_ROWS", 20)
    upkeep = Upkeep(None)
    await shelf.put(document("a", passages=30))
    resident = await shelf.loaded()
    assert not resident.state.parts[0].segment.is_indexed
    assert await tend_all(upkeep, resident) == 1
    assert resident.state.parts[0].segment.codes is not None
    assert_same(shelf.collection, resident.state, shelf.rebuilt())
    await upkeep.close()


async def test_upkeep_saves_when_nothing_has_changed_for_a_while(
    shelf: Shelf, snapshots: SnapshotFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("rag_server.query.resident.upkeep.time.monotonic", lambda: now)
    upkeep = Upkeep(snapshots, quiet_s=5.0)
    resident = await shelf.loaded()
    await grow(shelf, resident, "a")
    assert not await upkeep.tend(resident)
    now += 4
    await grow(shelf, resident, "b")
    assert not await upkeep.tend(resident)
    now += 4.9
    assert not await upkeep.tend(resident)
    assert snapshots.saved_uids() == []
    now += 0.1
    assert await upkeep.tend(resident)
    assert snapshots.saved_uids() == [shelf.collection.uid]
    now += 100
    assert not await upkeep.tend(resident)  # there is nothing new
    again = await shelf.loaded(snapshots)
    assert again.last_load is not None
    assert (again.last_load.source, again.last_load.revision) == (LoadSource.SNAPSHOT, 2)
    await upkeep.close()


async def test_upkeep_does_not_save_again_what_it_was_told_is_saved(shelf: Shelf, upkeep: Upkeep) -> None:
    resident = await shelf.loaded()
    await grow(shelf, resident, "a")
    upkeep.mark_saved(shelf.collection.uid, 1)
    assert await tend_all(upkeep, resident) == 0
    await grow(shelf, resident, "b")
    await upkeep.tend(resident)
    assert await tend_all(upkeep, resident) == 1
    upkeep.forget(shelf.collection.uid)
    await upkeep.tend(resident)
    assert await tend_all(upkeep, resident) == 1


async def test_upkeep_uses_the_files_that_it_has_written(shelf: Shelf, upkeep: Upkeep) -> None:
    resident = await shelf.loaded()
    await grow(shelf, resident, "a", "b")
    before = [part.segment for part in resident.state.parts]
    assert await upkeep.save(resident)
    after = [part.segment for part in resident.state.parts]
    assert [segment.id for segment in after] == [segment.id for segment in before]
    assert all(one is not other for one, other in zip(before, after, strict=True))
    assert_same(shelf.collection, resident.state, shelf.rebuilt())


async def test_upkeep_that_cannot_save_says_so_and_waits_for_the_next_revision(
    shelf: Shelf, upkeep: Upkeep, tmp_path: Path
) -> None:
    resident = await shelf.loaded()
    await grow(shelf, resident, "a")
    (tmp_path / "snapshots").write_text("a file where the folder should be")
    with capture_logs() as logs:
        await upkeep.tend(resident)
        assert not await upkeep.tend(resident)
        assert not await upkeep.tend(resident)
    assert [entry["event"] for entry in logs] == ["snapshot not written"]
    (tmp_path / "snapshots").unlink()
    await grow(shelf, resident, "b")
    await upkeep.tend(resident)
    assert await upkeep.tend(resident)


async def test_upkeep_whose_files_are_damaged_at_once_goes_on_without_them(
    shelf: Shelf, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(folder: Path, segment_id: str) -> Segment:
        raise ValueError(folder.name + segment_id)

    monkeypatch.setattr("rag_server.query.resident.snapshot._open_segment", damaged)
    resident = await shelf.loaded()
    await grow(shelf, resident, "a")
    with capture_logs() as logs:
        assert not await upkeep.save(resident)
    assert [entry["why"] for entry in logs] == ["ValueError"]
    assert_same(shelf.collection, resident.state, shelf.rebuilt())


async def test_upkeep_without_a_folder_saves_nothing(shelf: Shelf) -> None:
    upkeep = Upkeep(None, quiet_s=0.0)
    resident = await shelf.loaded()
    await grow(shelf, resident, "a")
    assert await tend_all(upkeep, resident) == 0
    assert not await upkeep.save(resident)
    upkeep.remove_snapshot(shelf.collection.uid)
    await upkeep.close()


class SlowFolder(SnapshotFolder):
    """Saves when it is told to."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.is_saving = threading.Event()
        self.may_save = threading.Event()

    def save(self, collection: Collection, state: State) -> list[Segment]:
        self.is_saving.set()
        assert self.may_save.wait(30)
        return super().save(collection, state)


async def test_upkeep_removes_the_snapshot_that_is_being_written(shelf: Shelf, tmp_path: Path) -> None:
    """Else a collection that was deleted would stay on the disk."""
    snapshots = SlowFolder(tmp_path / "slow")
    upkeep = Upkeep(snapshots)
    resident = await shelf.loaded()
    await grow(shelf, resident, "a")
    saving = asyncio.create_task(upkeep.save(resident))
    await asyncio.to_thread(snapshots.is_saving.wait, 30)
    upkeep.remove_snapshot(shelf.collection.uid)
    snapshots.may_save.set()
    await saving
    await upkeep.close()
    assert snapshots.saved_uids() == []


async def test_upkeep_closed_stops_what_it_does(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph takes minutes; nobody waits for it at the end."""
    monkeypatch.setattr(segment_module, "CODES_THRESHOLD_ROWS", 20)
    upkeep = Upkeep(None)
    await shelf.put(document("a", passages=30))
    resident = await shelf.loaded()
    is_busy, going_on = threading.Event(), threading.Event()

    def wait() -> None:
        is_busy.set()
        assert going_on.wait(30)

    blocking = asyncio.create_task(upkeep._run(wait))
    await asyncio.to_thread(is_busy.wait, 30)
    tending = asyncio.create_task(upkeep.tend(resident))
    await asyncio.sleep(0)
    closing = asyncio.create_task(upkeep.close())
    while not upkeep._stop.is_set():  # noqa: ASYNC110 - there is nothing else to wait for
        await asyncio.sleep(0)
    going_on.set()
    await asyncio.gather(blocking, closing)
    assert not await tending
    assert not resident.state.parts[0].segment.is_indexed
