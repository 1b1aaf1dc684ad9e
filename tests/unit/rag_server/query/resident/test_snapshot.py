from __future__ import annotations

import errno
import json
import pickle
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from rag_server.domain.collection import Collection
from rag_server.query.resident import segment as segment_module
from rag_server.query.resident import snapshot as snapshot_module
from rag_server.query.resident.merging import merge_parts
from rag_server.query.resident.snapshot import SnapshotFolder
from rag_server.query.resident.state import State
from rag_server.testing.chunks import make_collection
from tests.unit.rag_server.query.resident.resident_library import (
    BOTH,
    answer_of,
    assert_same,
    assert_same_answer,
    document,
    find,
    large_segment,
    segment_of,
)

COLLECTION = replace(make_collection(), revision=9)


def make_state(*parts: str, revision: int = 9) -> State:
    state = State.empty(revision)
    for names in parts:
        own = {name: (document(name), 1) for name in names}
        state = state.with_segment(segment_of(COLLECTION, own, state.vocabulary))
    return state


def files_of(root: Path) -> dict[str, int]:
    """Return the inode of every file, by its path."""
    return {
        str(path.relative_to(root / COLLECTION.uid)): path.stat().st_ino
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def is_mapped(array: np.ndarray) -> bool:
    base: Any = array
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    return isinstance(base, np.memmap)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "snapshots"


@pytest.fixture
def indexed(monkeypatch: pytest.MonkeyPatch) -> State:
    """Return a state with three segments: without an index, with codes, with codes and a graph."""
    monkeypatch.setattr(segment_module, "CODES_THRESHOLD_ROWS", 200)
    monkeypatch.setattr(segment_module, "GRAPH_THRESHOLD_ROWS", 300)
    state = make_state("abc")
    for rows in (200, 300):
        segment = large_segment(COLLECTION, rows, state.vocabulary).indexed(lambda: False)
        assert segment is not None
        state = state.with_segment(segment)
    return state.without_documents({"b", "big00000100"})


# --- what is saved


def test_snapshot_opened_is_the_state_that_was_saved(root: Path, indexed: State) -> None:
    SnapshotFolder(root).save(COLLECTION, indexed)
    opened = SnapshotFolder(root).open(COLLECTION)
    assert opened is not None
    assert opened.revision == 9
    assert [part.segment.id for part in opened.parts] == [part.segment.id for part in indexed.parts]
    assert [part.base for part in opened.parts] == [part.base for part in indexed.parts]
    assert [part.alive_count for part in opened.parts] == [6, 100, 200]
    for mine, theirs in zip(opened.parts, indexed.parts, strict=True):
        assert (mine.segment.codes is None) == (theirs.segment.codes is None)
        assert (mine.segment.graph is None) == (theirs.segment.graph is None)
        np.testing.assert_array_equal(mine.segment.vectors, theirs.segment.vectors)
    assert opened.vocabulary.terms() == indexed.vocabulary.terms()
    assert_same_answer(answer_of(find(COLLECTION, opened, BOTH)), answer_of(find(COLLECTION, indexed, BOTH)))


@pytest.mark.parametrize("parts", [(), ("a",)], ids=["empty", "one document"])
def test_snapshot_of_little_is_opened(snapshots: SnapshotFolder, parts: tuple[str, ...]) -> None:
    state = make_state(*parts)
    snapshots.save(COLLECTION, state)
    opened = snapshots.open(COLLECTION)
    assert opened is not None
    assert_same(COLLECTION, opened, state)


def test_snapshot_opened_goes_on_like_the_state_that_was_saved(snapshots: SnapshotFolder) -> None:
    """It learns terms, loses documents and is merged."""
    state = make_state("abc", "de").without_documents({"a"})
    snapshots.save(COLLECTION, state)
    opened = snapshots.open(COLLECTION)
    assert opened is not None
    both = []
    for each in (state, opened):
        fresh = {"b": (document("b", seed=4), 2), "f": (document("f"), 1)}
        segment = segment_of(COLLECTION, fresh, each.vocabulary)
        each = each.without_documents({"b"}).with_segment(segment)  # noqa: PLW2901
        merged = merge_parts(each.parts, lambda: False)
        assert merged is not None
        both.append(each.with_merged([part.segment.id for part in each.parts], merged, None))
    assert_same(COLLECTION, both[1], both[0])


def test_snapshot_is_mapped_and_holds_no_objects(root: Path, snapshots: SnapshotFolder) -> None:
    state = State.empty(9)
    state = state.with_segment(large_segment(COLLECTION, 600, state.vocabulary))
    (mapped,) = snapshots.save(COLLECTION, state)
    opened = snapshots.open(COLLECTION)
    assert opened is not None
    for segment in (mapped, opened.parts[0].segment):
        assert is_mapped(segment.vectors)
        assert is_mapped(segment.postings.rows)
        assert is_mapped(segment.passages.texts.data)
        assert type(segment.vectors) is np.ndarray
    assert mapped.id == state.parts[0].segment.id
    renewed = state.with_renewed(mapped)
    assert_same_answer(answer_of(find(COLLECTION, renewed)), answer_of(find(COLLECTION, state)))
    for path in root.rglob("*.npy"):
        np.load(path, allow_pickle=False)


def test_snapshot_never_unpickles(root: Path, snapshots: SnapshotFolder) -> None:
    """Not even a file whose checksum is right."""
    snapshots.save(COLLECTION, make_state("ab"))
    (path,) = root.rglob("statistics.totals.npy")
    np.save(path, np.array([Bomb()], dtype=object), allow_pickle=True)
    forge(root, path)
    with capture_logs() as logs:
        assert snapshots.open(COLLECTION) is None
    assert [entry["why"] for entry in logs] == ["ValueError"]


class Bomb:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return pytest.fail, ("unpickled",)


def test_bomb_goes_off() -> None:
    with pytest.raises(pytest.fail.Exception):
        pickle.loads(pickle.dumps(Bomb()))  # noqa: S301


def forge(root: Path, *altered: Path, **fields: object) -> None:
    """Make the manifest fit altered files, and say something else."""
    path = root / COLLECTION.uid / "manifest.json"
    manifest = json.loads(path.read_text())["manifest"] | fields
    for file in altered:
        name = str(file.relative_to(path.parent))
        manifest["checksums"][name] = [file.stat().st_size, zlib.crc32(file.read_bytes())]
    checksum = zlib.crc32(json.dumps(manifest).encode())
    path.write_text(json.dumps({"checksum": checksum, "manifest": manifest}))


# --- what is shared, and what goes


def test_snapshot_saved_again_writes_new_segments_only(root: Path, snapshots: SnapshotFolder) -> None:
    state = make_state("abc", "de")
    assert len(snapshots.save(COLLECTION, state)) == 2
    before = files_of(root)
    state = state.without_documents({"d"}).with_segment(
        segment_of(COLLECTION, {"f": (document("f"), 1)}, state.vocabulary)
    )
    (written,) = snapshots.save(COLLECTION, replace(state, revision=9))
    assert written.id == state.parts[2].segment.id
    after = files_of(root)
    kept = {name for name in before if name.startswith("segment-")}
    assert kept <= after.keys()
    assert all(before[name] == after[name] for name in kept)
    assert len({name.partition("/")[0] for name in after if name.startswith("state-")}) == 1
    opened = SnapshotFolder(root).open(COLLECTION)
    assert opened is not None
    assert_same(COLLECTION, opened, state)


def test_snapshot_segment_that_was_indexed_since_is_written_again(
    root: Path, snapshots: SnapshotFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = State.empty(9)
    state = state.with_segment(large_segment(COLLECTION, 300, state.vocabulary))
    snapshots.save(COLLECTION, state)
    monkeypatch.setattr(segment_module, "CODES_THRESHOLD_ROWS", 200)
    segment = state.parts[0].segment.indexed(lambda: False)
    assert segment is not None
    (mapped,) = snapshots.save(COLLECTION, state.with_renewed(segment))
    assert mapped.codes is not None
    folders = {name.partition("/")[0] for name in files_of(root) if name.startswith("segment-")}
    assert folders == {f"segment-{segment.id}-codes"}


def test_snapshot_saved_removes_what_it_does_not_name(root: Path, snapshots: SnapshotFolder) -> None:
    snapshots.save(COLLECTION, make_state("abc"))
    leftover = root / COLLECTION.uid / "segment-0-flat"
    leftover.mkdir()
    (leftover / "vectors.npy").write_bytes(b"half")
    state = make_state("de")
    mapped = snapshots.save(COLLECTION, state)
    folders = {path.name for path in (root / COLLECTION.uid).iterdir() if path.is_dir()}
    assert len(folders) == 2
    assert f"segment-{mapped[0].id}-flat" in folders


def test_snapshot_segments_mapped_outlive_their_files(snapshots: SnapshotFolder) -> None:
    state = State.empty(9)
    state = state.with_segment(large_segment(COLLECTION, 600, state.vocabulary))
    (mapped,) = snapshots.save(COLLECTION, state)
    renewed = state.with_renewed(mapped)
    snapshots.save(COLLECTION, make_state("a"))
    snapshots.remove(COLLECTION.uid)
    assert_same_answer(answer_of(find(COLLECTION, renewed)), answer_of(find(COLLECTION, state)))


def test_snapshot_that_cannot_be_written_leaves_the_one_before(
    root: Path, snapshots: SnapshotFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And none of its own files: the disk is full."""
    state = make_state("abc")
    snapshots.save(COLLECTION, state)
    before = files_of(root)
    written: list[Path] = []

    def save(path: Path, array: np.ndarray, **options: Any) -> None:
        if len(written) == 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        np_save(path, array, **options)

    np_save = np.save
    monkeypatch.setattr("rag_server.query.resident.snapshot.np.save", save)
    more = state.with_segment(segment_of(COLLECTION, {"d": (document("d"), 1)}, state.vocabulary))
    with pytest.raises(OSError, match="No space left"):
        snapshots.save(COLLECTION, more)
    assert len(written) == 10
    assert files_of(root) == before
    opened = snapshots.open(COLLECTION)
    assert opened is not None
    assert_same(COLLECTION, opened, state)


def test_snapshot_removed_is_gone(root: Path, snapshots: SnapshotFolder) -> None:
    other = replace(COLLECTION, uid="f" * 32)
    snapshots.save(COLLECTION, make_state("a"))
    snapshots.save(other, make_state("a"))
    assert sorted(snapshots.saved_uids()) == sorted([COLLECTION.uid, other.uid])
    snapshots.remove(COLLECTION.uid)
    snapshots.remove(COLLECTION.uid)
    assert snapshots.saved_uids() == [other.uid]
    assert snapshots.open(COLLECTION) is None
    assert snapshots.open(other) is not None


def test_snapshot_removed_where_a_file_stands_makes_room(root: Path, snapshots: SnapshotFolder) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / COLLECTION.uid).write_text("not a folder")
    snapshots.remove(COLLECTION.uid)
    assert not (root / COLLECTION.uid).exists()


def test_snapshot_that_was_never_saved_is_none_without_a_warning(snapshots: SnapshotFolder) -> None:
    with capture_logs() as logs:
        assert snapshots.open(COLLECTION) is None
        assert snapshots.saved_uids() == []
    assert logs == []


# --- what is of no use


def refuses(root: Path, collection: Collection = COLLECTION) -> str:
    """Open the snapshot, which must be of no use and then be gone; return why."""
    with capture_logs() as logs:
        assert SnapshotFolder(root).open(collection) is None
    assert [entry["log_level"] for entry in logs] == ["warning"]
    assert not (root / collection.uid).exists()
    return str(logs[0]["why"])


@pytest.mark.parametrize(
    ("field", "value"),
    [("embedding_model", "other"), ("dimension", 16), ("language", "de"), ("uid", "moved")],
)
def test_snapshot_made_for_something_else_is_of_no_use(
    root: Path, snapshots: SnapshotFolder, field: str, value: Any
) -> None:
    snapshots.save(COLLECTION, make_state("a"))
    other = replace(COLLECTION, **{field: value})
    (root / COLLECTION.uid).rename(root / other.uid)
    assert "another format, model or language" in refuses(root, other)


def test_snapshot_of_another_format_is_of_no_use(
    root: Path, snapshots: SnapshotFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots.save(COLLECTION, make_state("a"))
    monkeypatch.setattr(snapshot_module, "FORMAT", snapshot_module.FORMAT + 1)
    assert "another format" in refuses(root)


def test_snapshot_later_than_the_metadata_is_of_no_use(root: Path, snapshots: SnapshotFolder) -> None:
    """As after the database was restored from a copy."""
    snapshots.save(COLLECTION, make_state("a", revision=10))
    assert refuses(root) == "later than the metadata"


class Kept(SnapshotFolder):
    """Leaves the files where they are, and counts how often they were to be removed."""

    removed = 0

    def remove(self, collection_uid: str) -> None:
        self.removed += 1


def altered_at(place: int) -> Callable[[bytes], bytes]:
    """Return what flips a bit: 0 is the first byte, 1 the one in the middle, 2 the last one."""

    def flip(content: bytes) -> bytes:
        altered = bytearray(content)
        altered[(0, len(content) // 2, len(content) - 1)[place]] ^= 1 << place
        return bytes(altered)

    return flip


DAMAGES: dict[str, Callable[[bytes], bytes] | None] = {
    "first byte": altered_at(0),
    "middle byte": altered_at(1),
    "last byte": altered_at(2),
    "cut short": lambda content: content[:-1],
    "longer": lambda content: content + b"}",
    "empty": lambda content: b"",
    "missing": None,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_snapshot_with_any_file_damaged_is_of_no_use(root: Path, indexed: State, damage: str) -> None:
    snapshots = Kept(root)
    snapshots.save(COLLECTION, indexed)
    by_kind = {path.name: path for path in root.rglob("*") if path.is_file()}
    files = list(by_kind.values())
    assert len(files) > 40
    alter = DAMAGES[damage]
    with capture_logs() as logs:
        for file in files:
            content = file.read_bytes()
            file.unlink()  # no segment that is mapped may change
            if alter is not None:
                file.write_bytes(alter(content))
            assert snapshots.open(COLLECTION) is None, file
            file.write_bytes(content)
    assert snapshots.removed == len(files) == len(logs)
    assert {entry["event"] for entry in logs} == {"snapshot of no use: reading the store"}
    assert snapshots.open(COLLECTION) is not None


def test_snapshot_damaged_is_removed(root: Path, snapshots: SnapshotFolder) -> None:
    snapshots.save(COLLECTION, make_state("a"))
    (path,) = root.rglob("vectors.npy")
    path.write_bytes(altered_at(1)(path.read_bytes()))
    assert refuses(root).endswith("vectors.npy was altered")


def test_snapshot_without_its_manifest_is_removed(root: Path, snapshots: SnapshotFolder) -> None:
    """As after a first save that broke off."""
    snapshots.save(COLLECTION, make_state("a"))
    (root / COLLECTION.uid / "manifest.json").unlink()
    assert refuses(root) == "its manifest is missing or was altered"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b"{}",
        b'{"checksum": 0}',
        b'{"checksum": 0, "manifest": {}}',
        b'{"checksum": "x", "manifest": []}',
        b"[" * 100_000,
    ],
    ids=str,
)
def test_snapshot_with_garbage_for_a_manifest_is_of_no_use(
    root: Path, snapshots: SnapshotFolder, content: bytes
) -> None:
    snapshots.save(COLLECTION, make_state("a"))
    (root / COLLECTION.uid / "manifest.json").write_bytes(content)
    assert refuses(root) == "its manifest is missing or was altered"


def test_snapshot_whose_manifest_says_another_revision_is_of_no_use(
    root: Path, snapshots: SnapshotFolder
) -> None:
    """It would seem to have changes that it lacks."""
    snapshots.save(COLLECTION, make_state("a", revision=5))
    path = root / COLLECTION.uid / "manifest.json"
    assert path.read_text().count('"revision": 5') == 1
    path.write_text(path.read_text().replace('"revision": 5', '"revision": 7'))
    assert refuses(root) == "its manifest is missing or was altered"


def test_snapshot_whose_manifest_has_other_fields_is_of_no_use(root: Path, snapshots: SnapshotFolder) -> None:
    """As one of a later release may."""
    snapshots.save(COLLECTION, make_state("a"))
    forge(root, another=1)
    assert refuses(root) == "its manifest is missing or was altered"
