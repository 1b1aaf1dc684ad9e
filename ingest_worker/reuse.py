"""Delta embedding: chunks whose text the visible revision has already keep their vectors.

A vector depends on the model, which is one for all of a collection, and on the text that is embedded, which
is the chunk's alone: without its headings, and with the header rows that it repeats of a table. So chunks of
two revisions with the same text have the same vector, wherever they stand. What counts is what the chunk
store holds, not what it should hold: a chunk that is missing there is embedded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt
import structlog

from rag_server.backends.protocols import ChunkStore, Embedder, Embeddings
from rag_server.domain.collection import Collection
from rag_server.domain.document import chunk_id
from rag_server.domain.priority import Priority
from rag_server.domain.revision import DocumentRevision
from rag_server.errors import Unavailable

log = structlog.get_logger()

_CHUNKS_PER_READ = 1_000


class KnownVectors:
    """Vectors of a document's visible revision by the text that they were made of.

    Holds the vectors and 32 bytes per chunk, not the texts.
    """

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._vectors: dict[bytes, npt.NDArray[np.float32]] = {}

    @classmethod
    async def read(
        cls, store: ChunkStore, collection: Collection, visible: DocumentRevision | None
    ) -> KnownVectors:
        """Return what `store` has of `visible`, whose vectors are those of the collection's model.

        A store that does not answer costs the embedding of all chunks, not the job.
        """
        known = cls(collection.dimension)
        if visible is None:
            return known
        document_id = visible.document.document_id
        ids = (
            chunk_id(collection.tenant_id, collection.uid, document_id, visible.revision, ordinal)
            for ordinal in range(visible.chunk_count)
        )
        try:
            while page := list(islice(ids, _CHUNKS_PER_READ)):
                stored = await store.read_chunks(collection, page)
                for chunk, vector in zip(stored.chunks, stored.vectors, strict=True):
                    # a copy: a view would keep the whole page
                    known._vectors[_key(chunk.text)] = vector.copy()
        except Unavailable as error:
            log.warning("earlier vectors could not be read: all is embedded", reason=error.reason)
        return known

    def __len__(self) -> int:
        return len(self._vectors)

    async def embed(self, embedder: Embedder, texts: Sequence[str]) -> tuple[Embeddings, int]:
        """Return the vectors of `texts`, `(len(texts), d)`, and how many of them were known.

        A text that stands there twice is embedded once. Raises what `Embedder.embed` raises.
        """
        keys = [_key(text) for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._vectors}
        made: dict[bytes, npt.NDArray[np.float32]] = {}
        if missing:
            embedded = await embedder.embed(list(missing.values()), priority=Priority.BULK)
            made = dict(zip(missing, embedded, strict=True))
        vectors = np.empty((len(texts), self._dimension), np.float32)
        for row, key in enumerate(keys):
            vectors[row] = made[key] if key in made else self._vectors[key]
        return vectors, sum(key not in made for key in keys)


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
