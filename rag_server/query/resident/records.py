"""The rows of a segment that have metadata of their own, as filters look at them: each like a document.

A filter sees a record's fields over those of its document, and its conditions are not of one level: a record
may fail what its document passes. So records are looked at by themselves, with all fields that hold for each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rag_server.metadata.codecs import metadata_from_json
from rag_server.query.resident.columns import DocumentColumns
from rag_server.query.resident.documents import Documents
from rag_server.query.resident.passages import Array, Passages, Rows

_PREFIX = "columns."


@dataclass(frozen=True, slots=True, eq=False)
class RecordColumns:
    """`r` records of one segment, immutable."""

    rows: Rows
    """Shape `(r,)`, ascending."""
    columns: DocumentColumns
    """A record's place there is that in `rows`."""

    @classmethod
    def of(
        cls, passages: Passages, documents: Documents, row_documents: npt.NDArray[np.int32]
    ) -> RecordColumns | None:
        """Return the columns of the rows with metadata; None where there are none. O(records log records)."""
        rows = np.flatnonzero(passages.metadata_codes).astype(np.int64)
        if not len(rows):
            return None
        owners = row_documents[rows].tolist()
        own = {code: passages.metadata_of(code) for code in np.unique(passages.metadata_codes[rows]).tolist()}
        shared = {
            each: (
                documents.ids[each],
                documents.media_types[each],
                documents.source_uris[each],
                metadata_from_json(json.loads(documents.metadata[each])),
            )
            for each in set(owners)
        }
        columns = DocumentColumns.of(
            [
                (*shared[owner][:3], {**shared[owner][3], **own[code]})
                for owner, code in zip(owners, passages.metadata_codes[rows].tolist(), strict=True)
            ]
        )
        return cls(rows, columns)

    @property
    def nbytes(self) -> int:
        """Bytes that the columns hold."""
        return int(self.rows.nbytes) + self.columns.nbytes

    def arrays(self) -> dict[str, Array]:
        """Return what `from_arrays` takes."""
        own: dict[str, Array] = {"rows": self.rows}
        return own | {f"{_PREFIX}{name}": array for name, array in self.columns.arrays().items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> RecordColumns | None:
        """Return the columns that `arrays` was made from; None where that is nothing."""
        if not arrays:
            return None
        columns = {
            name.removeprefix(_PREFIX): array for name, array in arrays.items() if name.startswith(_PREFIX)
        }
        return cls(arrays["rows"], DocumentColumns.from_arrays(columns))  # type: ignore[arg-type]  # as written
