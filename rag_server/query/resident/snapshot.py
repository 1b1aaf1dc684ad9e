"""Collections on disk in the form in which they are searched: a server that restarts maps the files.

A folder per collection holds a folder per segment, written once, and per saved state a folder with what
changes (dead rows, statistics, terms); `manifest.json`, replaced in one step, names those that count and the
checksum of every file, its own included. Whatever does not fit - another format, model or analyser, a file
that is missing or altered - makes the snapshot useless, never wrong: it is removed and the collection is read
from the store.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import structlog

from rag_server.domain.collection import Collection
from rag_server.domain.ids import new_id
from rag_server.query.resident.codes import Codes
from rag_server.query.resident.graph import Graph
from rag_server.query.resident.passages import Array
from rag_server.query.resident.segment import Segment
from rag_server.query.resident.state import Part, State
from rag_server.query.resident.statistics import TermStatistics
from rag_server.query.resident.strings import Strings
from rag_server.query.resident.vocabulary import Vocabulary

_log = structlog.get_logger(__name__)
FORMAT: Final = 2
"""Raised whenever files of before can no longer be read, or mean something else."""
_MANIFEST: Final = "manifest.json"
_VECTORS: Final = "vectors.npy"
_CODES: Final = "codes.faiss"
_GRAPH: Final = "graph.faiss"
_BLOCK: Final = 1 << 22


class _Useless(Exception):
    """The snapshot cannot be used; the text says why, for the log."""


@dataclass(frozen=True, slots=True)
class _Manifest:
    format: int
    collection_uid: str
    embedding_model: str
    dimension: int
    language: str
    revision: int
    state: str
    """Folder of the state."""
    segments: list[str]
    """Folders of the segments, in order."""
    checksums: dict[str, list[int]]
    """By file: size in bytes and CRC-32."""


class SnapshotFolder:
    """The snapshots of all collections, each below its uid. Every method blocks."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def save(self, collection: Collection, state: State) -> list[Segment]:
        """Write `state`; return the segments that were written as the files hold them, mapped.

        Segments that the snapshot before holds are not written again. Raises `OSError`: that one stays.
        """
        folder = self._root / collection.uid
        folder.mkdir(parents=True, exist_ok=True)
        before = _read_manifest(folder)
        # searched in another way, a segment is another folder
        segments = {f"segment-{part.segment.id}-{_kind(part.segment)}": part.segment for part in state.parts}
        kept = segments.keys() & set(before.segments) if before is not None else set()
        name = f"state-{new_id()}"
        try:
            checksums = _checksums_below(kept, before)
            for each in segments.keys() - kept:
                checksums |= _write(folder, each, segments[each].arrays(), segments[each])
            checksums |= _write(folder, name, _state_arrays(state))
            manifest = _Manifest(
                format=FORMAT,
                collection_uid=collection.uid,
                embedding_model=collection.embedding_model,
                dimension=collection.dimension,
                language=collection.language,
                revision=state.revision,
                state=name,
                segments=list(segments),
                checksums=checksums,
            )
            _write_manifest(folder, manifest)
        except OSError:
            # perhaps the disk is full
            _remove_unnamed(folder, {before.state, *before.segments} if before is not None else set())
            raise
        _remove_unnamed(folder, {name, *segments})
        return [_open_segment(folder / each, segments[each].id) for each in segments.keys() - kept]

    def open(self, collection: Collection) -> State | None:
        """Return the state that was saved last; None when there is none that is of use."""
        folder = self._root / collection.uid
        if not folder.exists():
            return None
        try:
            return _open(folder, collection)
        except (_Useless, OSError, ValueError, KeyError, TypeError, EOFError) as error:
            why = str(error) if isinstance(error, _Useless) else type(error).__name__
            _log.warning("snapshot of no use: reading the store", collection=collection.uid, why=why)
            self.remove(collection.uid)
            return None

    def remove(self, collection_uid: str) -> None:
        """Remove the snapshot of a collection. Idempotent."""
        _remove(self._root / collection_uid)

    def saved_uids(self) -> list[str]:
        """Return the collections that have a snapshot."""
        return [path.parent.name for path in self._root.glob(f"*/{_MANIFEST}")]


def _open(folder: Path, collection: Collection) -> State:
    manifest = _read_manifest(folder)
    if manifest is None:
        raise _Useless("its manifest is missing or was altered")
    wanted = (FORMAT, collection.uid, collection.embedding_model, collection.dimension, collection.language)
    if wanted != (
        manifest.format,
        manifest.collection_uid,
        manifest.embedding_model,
        manifest.dimension,
        manifest.language,
    ):
        raise _Useless("made for another format, model or language")
    if manifest.revision > collection.revision:
        raise _Useless("later than the metadata")
    for file, (size, checksum) in manifest.checksums.items():
        # an index knows its own checksum, and says it when it is opened
        is_index = file.endswith((_CODES, _GRAPH))
        if (folder / file).stat().st_size != size or (not is_index and _crc32(folder / file) != checksum):
            raise _Useless(f"{file} was altered")
    arrays = _load(folder / manifest.state)
    parts = []
    base = 0
    for index, name in enumerate(manifest.segments):
        segment = _open_segment(folder / name, name.split("-")[1])
        alive = arrays.get(f"alive-{index}")
        count = len(segment) if alive is None else int(np.count_nonzero(alive))
        parts.append(Part(segment, base, None if alive is None else alive.astype(np.bool_), count))
        base += len(segment)
    return State(
        manifest.revision,
        tuple(parts),
        TermStatistics.from_arrays(arrays),
        Vocabulary.of(Strings.from_arrays(arrays, "terms").to_list()),
    )


def _state_arrays(state: State) -> dict[str, Array]:
    terms = Strings.of(state.vocabulary.terms())
    masks = {f"alive-{index}": part.alive for index, part in enumerate(state.parts) if part.alive is not None}
    return {**masks, **terms.arrays("terms"), **state.statistics.arrays()}


def _open_segment(folder: Path, segment_id: str) -> Segment:
    graph = Graph.open(folder / _GRAPH) if (folder / _GRAPH).exists() else None
    codes = Codes.open(folder / _CODES) if (folder / _CODES).exists() else None
    vectors = np.asarray(np.load(folder / _VECTORS, mmap_mode="r")) if graph is None else graph.vectors
    return Segment.from_arrays(_load(folder), vectors, codes, graph, id=segment_id)


def _kind(segment: Segment) -> str:
    return "graph" if segment.graph is not None else "flat" if segment.codes is None else "codes"


def _load(folder: Path) -> dict[str, Array]:
    return {
        path.name.removesuffix(".npy"): _map(path) for path in folder.glob("*.npy") if path.name != _VECTORS
    }


def _map(path: Path) -> Array:
    # an empty file cannot be mapped
    array = np.load(path, mmap_mode=None if path.stat().st_size <= _SMALL else "r", allow_pickle=False)
    return np.asarray(array)


_SMALL: Final = 4096
"""Files up to this size are read: mapping one costs more than it saves."""


def _write(
    folder: Path, name: str, arrays: Mapping[str, Array], segment: Segment | None = None
) -> dict[str, list[int]]:
    """Write a folder of arrays; return the checksums of its files."""
    target = folder / name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for key, array in arrays.items():
        np.save(target / f"{key}.npy", array, allow_pickle=False)
    if segment is not None and segment.codes is not None:
        segment.codes.write(target / _CODES)
    if segment is not None and segment.graph is not None:
        segment.graph.write(target / _GRAPH)
    elif segment is not None:
        np.save(target / _VECTORS, segment.vectors, allow_pickle=False)
    return {f"{name}/{path.name}": [path.stat().st_size, _crc32(path)] for path in _synced(target)}


def _synced(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        yield path


def _read_manifest(folder: Path) -> _Manifest | None:
    try:
        content = json.loads((folder / _MANIFEST).read_bytes())
        if content["checksum"] != _checksum(content["manifest"]):
            return None
        return _Manifest(**content["manifest"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _write_manifest(folder: Path, manifest: _Manifest) -> None:
    """Put `manifest` in the place of the one before."""
    content = asdict(manifest)
    temporary = (folder / _MANIFEST).with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(json.dumps({"checksum": _checksum(content), "manifest": content}).encode())
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / _MANIFEST)


def _checksum(manifest: object) -> int:
    return zlib.crc32(json.dumps(manifest).encode())


def _checksums_below(names: Set[str], manifest: _Manifest | None) -> dict[str, list[int]]:
    checksums = manifest.checksums if manifest is not None else {}
    return {file: sums for file, sums in checksums.items() if file.partition("/")[0] in names}


def _remove(path: Path) -> None:
    """Remove a folder, or a file that stands where one belongs."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_unnamed(folder: Path, names: Set[str]) -> None:
    for path in folder.iterdir():
        if path.is_dir() and path.name not in names:
            shutil.rmtree(path, ignore_errors=True)


def _crc32(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum
