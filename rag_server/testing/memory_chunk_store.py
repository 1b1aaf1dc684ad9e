"""A `ChunkStore` without an engine: every search looks at every chunk. Passes the conformance suite."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import cast

import numpy as np
import numpy.typing as npt

from rag_server.backends.protocols import Embeddings
from rag_server.domain.collection import Collection
from rag_server.domain.document import Chunk
from rag_server.domain.lexical import Phrase
from rag_server.domain.metadata import Metadata
from rag_server.domain.stored import ANY, Hit, Scope, StoredChunks
from rag_server.errors import Internal, NotFound
from rag_server.testing.filter_reference import matches

_BATCH = 100


@dataclass(frozen=True, slots=True)
class _Row:
    chunk: Chunk
    vector: npt.NDArray[np.float32]
    lexemes: tuple[str, ...]
    metadata: Metadata


class MemoryChunkStore:
    """Implements `ChunkStore`. Statistics of BM25 are those of all rows of the collection."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, _Row]] = {}

    async def ensure_collection(self, collection: Collection) -> None:
        self._rows.setdefault(collection.uid, {})

    async def drop_collection(self, collection_uid: str) -> None:
        self._rows.pop(collection_uid, None)

    async def upsert(
        self,
        collection: Collection,
        chunks: Sequence[Chunk],
        vectors: Embeddings,
        lexemes: Sequence[Sequence[str]],
        metadata: dict[str, object],
    ) -> None:
        _check(vectors, (len(chunks), collection.dimension))
        if collection.uid not in self._rows:
            raise NotFound.for_resource("collection", collection.id)
        for chunk, vector, terms in zip(chunks, vectors, lexemes, strict=True):
            self._rows[collection.uid][chunk.id] = _Row(
                chunk, vector.copy(), tuple(filter(None, terms)), {**_typed(metadata), **chunk.metadata}
            )

    async def delete_document(
        self,
        tenant_id: str,
        collection_uid: str,
        document_id: str,
        *,
        revision: int | None = None,
        before_revision: int | None = None,
    ) -> None:
        rows = self._rows.get(collection_uid, {})
        for row in list(rows.values()):
            chunk = row.chunk
            if (
                (chunk.tenant_id, chunk.document_id) == (tenant_id, document_id)
                and revision in {None, chunk.document_revision}
                and (before_revision is None or chunk.document_revision < before_revision)
            ):
                del rows[chunk.id]

    async def search_dense(
        self,
        collection: Collection,
        vector: npt.NDArray[np.float32],
        *,
        limit: int,
        scope: Scope = ANY,
    ) -> list[Hit]:
        _check(vector[np.newaxis], (1, collection.dimension))
        unit = vector / np.linalg.norm(vector)
        rows = self._in_scope(collection, scope)
        return _best(
            (Hit(row.chunk, float(unit @ row.vector / np.linalg.norm(row.vector))) for row in rows), limit
        )

    async def search_lexical(
        self, collection: Collection, terms: Sequence[str], *, limit: int, scope: Scope = ANY
    ) -> list[Hit]:
        everything = self._in_scope(collection, ANY)
        mean = sum(len(row.lexemes) for row in everything) / max(len(everything), 1)
        documents = Counter(term for row in everything for term in set(row.lexemes))

        def score(row: _Row) -> float:
            k1, b = collection.bm25.k1, collection.bm25.b
            total = 0.0
            for term in terms:
                frequency = row.lexemes.count(term)
                idf = log(1 + (len(everything) - documents[term] + 0.5) / (documents[term] + 0.5))
                norm = k1 * (1 - b + b * len(row.lexemes) / mean)
                total += idf * frequency * (k1 + 1) / (frequency + norm) if frequency else 0.0
            return total

        rows = [row for row in self._in_scope(collection, scope) if set(terms) & set(row.lexemes)]
        return _best((Hit(row.chunk, score(row)) for row in rows), limit)

    async def scan(self, collection: Collection) -> AsyncGenerator[StoredChunks, None]:
        rows = self._in_scope(collection, ANY)
        for start in range(0, len(rows), _BATCH):
            await asyncio.sleep(0)
            yield _stored(rows[start : start + _BATCH], collection)

    async def read_chunks(self, collection: Collection, chunk_ids: Sequence[str]) -> StoredChunks:
        rows = {row.chunk.id: row for row in self._in_scope(collection, ANY)}
        return _stored([rows[each] for each in dict.fromkeys(chunk_ids) if each in rows], collection)

    async def list_chunks(
        self, collection: Collection, document_id: str, revision: int, *, first_ordinal: int, limit: int
    ) -> list[Chunk]:
        wanted = (document_id, revision)
        chunks = (row.chunk for row in self._in_scope(collection, ANY))
        own = [each for each in chunks if (each.document_id, each.document_revision) == wanted]
        window = [each for each in own if first_ordinal <= each.ordinal < first_ordinal + limit]
        return sorted(window, key=lambda chunk: chunk.ordinal)

    async def count(self, collection: Collection) -> int:
        return len(self._in_scope(collection, ANY))

    async def check(self) -> None:
        """There is nothing that could be down."""

    async def close(self) -> None:
        """There is nothing to close."""

    def _in_scope(self, collection: Collection, scope: Scope) -> list[_Row]:
        rows = self._rows.get(collection.uid, {}).values()
        own = (row for row in rows if row.chunk.tenant_id == collection.tenant_id)
        return [row for row in own if _is_in(row, scope)]


def _typed(metadata: Mapping[str, object]) -> Metadata:
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in metadata.items()}
    return cast("Metadata", values)


def _is_in(row: _Row, scope: Scope) -> bool:
    chunk = row.chunk
    system = {
        "document_id": chunk.document_id,
        "media_type": chunk.media_type,
        "source_uri": chunk.source_uri,
    }
    return (
        (scope.filter is None or matches(scope.filter, system, row.metadata))
        and (scope.chunk_ids is None or chunk.id in scope.chunk_ids)
        and all(_contains(row.lexemes, phrase) for phrase in scope.phrases)
        and not any(_contains(row.lexemes, phrase) for phrase in scope.excluded)
    )


def _contains(lexemes: tuple[str, ...], phrase: Phrase) -> bool:
    size = len(phrase)
    return any(lexemes[start : start + size] == phrase for start in range(len(lexemes) - size + 1))


def _stored(rows: Sequence[_Row], collection: Collection) -> StoredChunks:
    vectors = np.array([row.vector for row in rows], np.float32).reshape(len(rows), collection.dimension)
    return StoredChunks([row.chunk for row in rows], vectors, [list(row.lexemes) for row in rows])


def _best(hits: Iterable[Hit], limit: int) -> list[Hit]:
    return sorted(hits, key=lambda hit: (-hit.score, hit.chunk.id))[:limit]


def _check(vectors: Embeddings, shape: tuple[int, int]) -> None:
    if vectors.shape != shape or not np.isfinite(vectors).all() or not np.any(vectors, axis=1).all():
        raise Internal("VECTOR_INVALID", "a vector has no direction, or another number of dimensions")
