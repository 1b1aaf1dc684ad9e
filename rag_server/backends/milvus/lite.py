"""What Milvus Lite offers inside its process besides the calls of a server: bulk reading.

Its answers to queries are made row by row in Python, every column of a row converted even when it is not
asked for, and each page of a long query looks at all rows again: 200 000 chunks of 384 dimensions take more
than a minute, and the interpreter's lock with it. But its snapshots (`MilvusLite.create_snapshot`) name the
Parquet files of a collection and keep them from being replaced, and Arrow reads those in a few seconds.

Everything here blocks, and raises what a server would: `MilvusException`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from milvus_lite import (
    Collection,
    CollectionNotFoundError,
    CollectionNotLoadedError,
    MilvusLite,
    MilvusLiteError,
)
from pymilvus.exceptions import MilvusException

from rag_server.backends.milvus.calls import MISSING, NOT_LOADED
from rag_server.backends.milvus.schema import STORED_COLUMNS

BATCH_ROWS = 1_024
"""A few MB of usual chunks; 200 MB should every value be as long as its column allows."""
_SNAPSHOT_PREFIX = "rag-scan-"
_SEQUENCE = "_seq"
_UNEXPECTED = 65_535

Sequences = npt.NDArray[np.uint64]


def open_once(database: MilvusLite) -> None:
    """Have `database` open each collection once, whichever of its threads ask for it first.

    By itself it opens one for each thread that asks before the first has it open, and keeps the last: what
    the others have written by then is in no answer, and the files are written by all of them.
    """
    locks: dict[str, RLock] = {}

    def one_at_a_time(call: Callable[..., Any]) -> Callable[..., Any]:
        def locked(name: str, *arguments: Any, **options: Any) -> Any:
            with locks.setdefault(name, RLock()):
                return call(name, *arguments, **options)

        return locked

    for method in ("get_collection", "create_collection", "drop_collection"):
        setattr(database, method, one_at_a_time(getattr(database, method)))


def read_rows(database: MilvusLite, name: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of `ids`, in their order, without those that are not there."""
    with _failures():
        collection: Collection = database.get_collection(name)
        rows: list[dict[str, Any]] = collection.get(list(ids), output_fields=list(STORED_COLUMNS))
    return rows


class Snapshot:
    """The rows of one collection at one moment, whatever is written or compacted afterwards.

    The files are held open, which keeps their content even after they were removed, so Milvus Lite
    need not keep the snapshot. Where an open file cannot be removed (Windows), Milvus Lite leaves it
    for its next start to clean up.
    """

    def __init__(self, files: Sequence[pq.ParquetFile], live: Sequences) -> None:
        self._files = files
        self._live = live

    @classmethod
    def take(cls, database: MilvusLite, name: str) -> Snapshot:
        """Write what is in the buffer to disk and open the files. Nothing may write meanwhile.

        Waits for a compaction that is under way.
        """
        with _failures():
            collection: Collection = database.get_collection(name)
            for old in database.list_snapshots(name):  # of a process that died here
                if old["name"].startswith(_SNAPSHOT_PREFIX):
                    database.drop_snapshot(name, old["name"])
            label = _SNAPSHOT_PREFIX + uuid4().hex
            named = database.create_snapshot(name, label)
            try:
                root = Path(collection.data_dir) / "partitions"
                data = [_open(path) for path in _paths(root, named["data_files"])]
                deltas = [_open(path) for path in _paths(root, named["delta_files"])]
            finally:
                database.drop_snapshot(name, label)
            return cls(data, _live_sequences(data, deltas, collection.pk_field))

    def batches(self) -> Iterator[tuple[list[dict[str, Any]], npt.NDArray[np.float32]]]:
        """Yield rows that have `STORED_COLUMNS` but `dense`, and their vectors `(n, d)`."""
        columns = [_SEQUENCE, *STORED_COLUMNS]
        with _failures():
            for file in self._files:
                for batch in file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False):
                    sequences = batch.column(_SEQUENCE).to_numpy()
                    found = np.searchsorted(self._live, sequences)
                    is_live = np.zeros(len(sequences), bool)
                    inside = found < len(self._live)
                    is_live[inside] = self._live[found[inside]] == sequences[inside]
                    kept = batch if is_live.all() else batch.filter(pa.array(is_live))
                    if kept.num_rows:
                        yield _rows_of(kept)


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except CollectionNotFoundError as error:
        raise MilvusException(code=MISSING[-1], message=str(error)) from error
    except CollectionNotLoadedError as error:
        raise MilvusException(code=NOT_LOADED, message=str(error)) from error
    except (MilvusLiteError, pa.ArrowException, OSError, LookupError) as error:
        raise MilvusException(code=_UNEXPECTED, message=str(error)) from error


def _paths(root: Path, files: Mapping[str, Sequence[str]]) -> list[Path]:
    return [root / partition / path for partition, paths in files.items() for path in paths]


def _open(path: Path) -> pq.ParquetFile:
    # a file is one row group: without the mapping, a column of it would be read into memory whole
    return pq.ParquetFile(path, memory_map=True, pre_buffer=False)


def _live_sequences(data: Sequence[pq.ParquetFile], deltas: Sequence[pq.ParquetFile], key: str) -> Sequences:
    """Return the sequence numbers of the rows that count, ascending.

    Every write of a row and every removal has a number of its own. Of a key the row with the highest
    number counts, unless a removal of it has a higher one.
    """
    written = _highest(data, key)
    removed = _highest(deltas, key)
    sequences: Sequences = written[_SEQUENCE].to_numpy()
    if removed.num_rows:
        places = pc.index_in(written[key], value_set=removed[key].combine_chunks())
        place = places.fill_null(-1).to_numpy()
        removals: Sequences = removed[_SEQUENCE].to_numpy()
        sequences = sequences[(place < 0) | (removals[place] < sequences)]
    return np.sort(sequences)


def _highest(files: Sequence[pq.ParquetFile], key: str) -> pa.Table:
    """Return one row per key, with its highest sequence number."""
    tables = [file.read(columns=[key, _SEQUENCE], use_threads=False) for file in files]
    if not tables:
        return pa.table({key: pa.array([], pa.string()), _SEQUENCE: pa.array([], pa.uint64())})
    groups = pa.concat_tables(tables).group_by(key, use_threads=False)
    return groups.aggregate([(_SEQUENCE, "max")]).rename_columns({f"{_SEQUENCE}_max": _SEQUENCE})


def _rows_of(batch: pa.RecordBatch) -> tuple[list[dict[str, Any]], npt.NDArray[np.float32]]:
    dense = batch.column("dense")
    vectors = dense.flatten().to_numpy(zero_copy_only=False).reshape(batch.num_rows, dense.type.list_size)
    rows: list[dict[str, Any]] = batch.drop_columns([_SEQUENCE, "dense"]).to_pylist()
    # a copy, since the view would keep the whole batch in memory
    return rows, np.array(vectors, np.float32)
