"""The documents of a segment: what their passages share, and the columns that filters look at."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rag_server.domain.document import DocumentHead
from rag_server.metadata.codecs import metadata_from_json, metadata_to_json
from rag_server.query.resident.columns import DocumentColumns
from rag_server.query.resident.passages import Array, ChunkSource, Rows
from rag_server.query.resident.strings import Strings, concatenate_strings

_TEXTS = ("ids", "titles", "source_uris", "media_types", "metadata")


@dataclass(frozen=True, slots=True, eq=False)
class Documents:
    """`k` documents, each in the one revision that the segment holds of it."""

    ids: Strings
    revisions: npt.NDArray[np.int64]
    titles: Strings
    source_uris: Strings
    media_types: Strings
    metadata: Strings
    """JSON with types, from which the columns can be made again when segments are merged."""
    columns: DocumentColumns = field(repr=False)

    @classmethod
    def of(cls, heads: Sequence[DocumentHead]) -> Documents:
        """Take what is needed of `heads`."""
        return cls(
            ids=Strings.of(head.id for head in heads),
            revisions=np.array([head.revision for head in heads], np.int64),
            titles=Strings.of(head.title for head in heads),
            source_uris=Strings.of(head.source_uri for head in heads),
            media_types=Strings.of(head.media_type for head in heads),
            metadata=Strings.of(
                json.dumps(metadata_to_json(head.metadata), ensure_ascii=False) for head in heads
            ),
            columns=DocumentColumns.of(
                [(head.id, head.media_type, head.source_uri, head.metadata) for head in heads]
            ),
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """Bytes that the table holds."""
        own = self.revisions.nbytes + sum(getattr(self, name).nbytes for name in _TEXTS)
        return int(own) + self.columns.nbytes

    def arrays(self) -> dict[str, Array]:
        """Return what `from_arrays` takes."""
        arrays: dict[str, Array] = {"revisions": self.revisions}
        for name in _TEXTS:
            arrays |= getattr(self, name).arrays(name)
        return arrays | {f"columns.{name}": array for name, array in self.columns.arrays().items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Documents:
        """Return the table that `arrays` was made from."""
        prefix = "columns."
        columns = {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
        texts = {name: Strings.from_arrays(arrays, name) for name in _TEXTS}
        return cls(
            revisions=arrays["revisions"],  # type: ignore[arg-type]  # as written by `arrays`
            columns=DocumentColumns.from_arrays(columns),
            **texts,
        )

    def sources(
        self, indices: npt.NDArray[np.integer], tenant_id: str, collection_id: str
    ) -> list[ChunkSource]:
        """Return what the chunks of each of these documents share."""
        return [
            ChunkSource(tenant_id, collection_id, *values)
            for values in zip(
                self.ids.at(indices),
                self.revisions[indices].tolist(),
                self.titles.at(indices),
                self.source_uris.at(indices),
                self.media_types.at(indices),
                strict=True,
            )
        ]


def concatenate_documents(parts: Sequence[tuple[Documents, Rows]]) -> Documents:
    """Return the chosen documents of each part, one part after the other."""
    texts = {
        name: concatenate_strings([(getattr(table, name), rows) for table, rows in parts]) for name in _TEXTS
    }
    count = len(texts["ids"])
    columns = DocumentColumns.of(
        [
            (
                texts["ids"][index],
                texts["media_types"][index],
                texts["source_uris"][index],
                metadata_from_json(json.loads(texts["metadata"][index])),
            )
            for index in range(count)
        ]
    )
    revisions = np.concatenate([table.revisions[rows] for table, rows in parts])
    return Documents(revisions=revisions, columns=columns, **texts)
