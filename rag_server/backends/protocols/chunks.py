"""The role of the store of chunks and their vectors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rag_server.backends.protocols.embedding import Embeddings
from rag_server.domain.collection import Collection
from rag_server.domain.document import Chunk
from rag_server.domain.stored import ANY, Hit, Scope, StoredChunks


class ChunkStore(Protocol):
    """Vectors and chunks of all collections; the engine of both retrieval legs.

    Knows nothing of which document revision readers may see: callers check what it returns
    against the metadata. Rows are keyed by `Chunk.id`, so writing them twice is harmless.
    """

    async def ensure_collection(self, collection: Collection) -> None:
        """Create what `collection` needs, if it is not there yet. Idempotent."""
        ...

    async def drop_collection(self, collection_uid: str) -> None:
        """Remove everything of a collection. Idempotent."""
        ...

    async def upsert(
        self,
        collection: Collection,
        chunks: Sequence[Chunk],
        vectors: Embeddings,
        lexemes: Sequence[Sequence[str]],
        metadata: dict[str, object],
    ) -> None:
        """Write `chunks` with one vector and one lexeme list each; `metadata` is their document's."""
        ...

    async def delete_document(
        self,
        tenant_id: str,
        collection_uid: str,
        document_id: str,
        *,
        revision: int | None = None,
        before_revision: int | None = None,
    ) -> None:
        """Remove a document's chunks: all, those of one `revision`, or those older than `before_revision`."""
        ...

    async def search_dense(
        self,
        collection: Collection,
        vector: npt.NDArray[np.float32],
        *,
        limit: int,
        scope: Scope = ANY,
    ) -> list[Hit]:
        """Return the `limit` nearest chunks in `scope` by cosine, best first; ties by chunk id."""
        ...

    async def search_lexical(
        self, collection: Collection, terms: Sequence[str], *, limit: int, scope: Scope = ANY
    ) -> list[Hit]:
        """Return the `limit` best chunks in `scope` by BM25 over lexemes, best first; ties by chunk id.

        A term that stands there twice counts twice. Chunks that hold none of the terms are not returned.
        The statistics may be those of parts of the collection, and may count rows that are gone.
        """
        ...

    def scan(self, collection: Collection) -> AsyncGenerator[StoredChunks, None]:
        """Yield everything that is stored, each chunk once, in batches of bounded size.

        Chunks of revisions that nobody sees are among it. What is written or removed after the first batch
        was asked for may or may not be seen. Close the generator when leaving it early.
        """
        ...

    async def read_chunks(self, collection: Collection, chunk_ids: Sequence[str]) -> StoredChunks:
        """Return these chunks, in order, each once; those that are not stored are left out."""
        ...

    async def list_chunks(
        self, collection: Collection, document_id: str, revision: int, *, first_ordinal: int, limit: int
    ) -> list[Chunk]:
        """Return chunks of one document revision in order, from `first_ordinal` on."""
        ...

    async def count(self, collection: Collection) -> int:
        """Return the number of stored chunks, including those of revisions that nobody sees."""
        ...

    async def check(self) -> None:
        """Raise `Unavailable` unless the store answers."""
        ...

    async def close(self) -> None: ...
