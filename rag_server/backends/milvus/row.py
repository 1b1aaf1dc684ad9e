"""Chunks as rows of Milvus and back, each checked before it is sent: Milvus itself accepts NaN vectors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from rag_server.backends.milvus.escape import escape, escape_all, unescape_all
from rag_server.backends.milvus.schema import COLUMN_BYTES, MAX_JSON_BYTES
from rag_server.domain.collection import Collection
from rag_server.domain.document import Chunk, Span
from rag_server.domain.metadata import Metadata, timestamp_us
from rag_server.domain.page_boxes import flattened, unflattened
from rag_server.domain.stored import StoredChunks
from rag_server.errors import Internal
from rag_server.metadata.codecs import metadata_from_json, metadata_to_json

Vectors = npt.NDArray[np.float32]
_NO_PAGE = 0  # pages count from 1; no NULLs, since Milvus Lite merges an upsert into the old row


def metadata_document(metadata: Mapping[str, object]) -> dict[str, Any]:
    """Return a document's metadata as filters address it, with escaped field names.

    `{"value": {name: scalar}, "list": {name: [string]}, "names": [name]}`: scalars and lists are
    apart because Milvus Lite would parse a string that looks like a JSON list as one; `names` is
    what `Exists` asks. Datetimes become microseconds since the epoch.
    """
    scalars: dict[str, object] = {}
    lists: dict[str, object] = {}
    for name, value in metadata.items():
        if isinstance(value, list | tuple):
            lists[escape(name)] = list(value)
        else:
            scalars[escape(name)] = timestamp_us(value) if isinstance(value, datetime) else value
    return {"value": scalars, "list": lists, "names": [*scalars, *lists]}


def check_vectors(vectors: npt.NDArray[np.float32], *, count: int, dimension: int) -> None:
    """Raise `Internal` unless `vectors` is `(count, dimension)`, finite, and without a zero row."""
    if vectors.shape != (count, dimension):
        raise Internal("VECTOR_INVALID", "the embedding model returned vectors of an unexpected shape")
    if not np.isfinite(vectors).all() or not np.any(vectors, axis=1).all():
        raise Internal("VECTOR_INVALID", "the embedding model returned a vector that has no direction")


def to_row(
    chunk: Chunk, vector: npt.NDArray[np.float32], lexemes: Sequence[str], metadata: Mapping[str, object]
) -> dict[str, Any]:
    """Return the row of one chunk; `metadata` is its document's, as `metadata_document` gives it.

    A record's own metadata wins over that. It is kept once more, with its types, beside the headings, as
    are the boxes on pages: collections that were made before there were any lack columns for them.

    Raises `Internal` (reason `CHUNK_TOO_LARGE`) when a value is longer than its column: nothing is cut.
    """
    row: dict[str, Any] = {
        "id": chunk.id,
        "tenant_id": chunk.tenant_id,
        "document_id": chunk.document_id,
        "document_revision": chunk.document_revision,
        "ordinal": chunk.ordinal,
        "text": chunk.text,
        "lexemes": escape_all(lexemes),
        "heading_path": _headings(chunk),
        "token_count": chunk.token_count,
        "span_start": chunk.span.start,
        "span_end": chunk.span.end,
        "page_start": chunk.page_start or _NO_PAGE,
        "page_end": chunk.page_end or _NO_PAGE,
        "title": chunk.title,
        "source_uri": chunk.source_uri,
        "media_type": chunk.media_type,
        "metadata": _over(metadata, chunk.metadata),
        "dense": vector,
    }
    for name, limit in COLUMN_BYTES.items():
        _check_size(name, len(row[name].encode()), limit)
    _check_size("heading_path", _json_bytes(row["heading_path"]), MAX_JSON_BYTES)
    if chunk.metadata:
        check_metadata(row["metadata"])
    return row


def _headings(chunk: Chunk) -> dict[str, object]:
    headings: dict[str, object] = {"path": list(chunk.heading_path)}
    if chunk.metadata:
        headings["metadata"] = metadata_to_json(chunk.metadata)
    if chunk.boxes:
        headings["boxes"] = flattened(chunk.boxes)
    return headings


def _over(document: Mapping[str, Any], own: Metadata) -> dict[str, object]:
    """Return the metadata of a document with that of a record in front of it."""
    if not own:
        return dict(document)
    mine = metadata_document(own)
    names = mine["names"]
    kept = {
        kind: {name: value for name, value in document[kind].items() if name not in names}
        for kind in ("value", "list")
    }
    merged: dict[str, Any] = {kind: {**values, **mine[kind]} for kind, values in kept.items()}
    return {**merged, "names": [*merged["value"], *merged["list"]]}


def _json_bytes(document: Mapping[str, object]) -> int:
    return len(json.dumps(document, ensure_ascii=False).encode())


def _check_size(column: str, size: int, limit: int) -> None:
    if size > limit:
        raise Internal(
            "CHUNK_TOO_LARGE",
            f"the {column} of a chunk has {size} bytes; the vector store takes {limit}",
            metadata={"column": column, "limit_bytes": str(limit)},
        )


def check_metadata(metadata: Mapping[str, object]) -> None:
    """Raise `Internal` when a document's metadata is larger than the store takes."""
    _check_size("metadata", _json_bytes(metadata), MAX_JSON_BYTES)


def row_bytes(row: Mapping[str, Any]) -> int:
    """Return about how many bytes a row has on the wire."""
    texts = sum(len(row[name].encode()) for name in COLUMN_BYTES)
    documents = _json_bytes(row["metadata"]) + _json_bytes(row["heading_path"])
    return texts + documents + int(row["dense"].nbytes) + 128


def to_chunk(row: Mapping[str, Any], *, tenant_id: str, collection_id: str) -> Chunk:
    """Return the chunk of a row that has `CHUNK_COLUMNS`."""
    heading_path = row["heading_path"]
    if isinstance(heading_path, str | bytes):
        heading_path = json.loads(heading_path)
    return Chunk(
        id=row["id"],
        tenant_id=tenant_id,
        collection_id=collection_id,
        document_id=row["document_id"],
        document_revision=row["document_revision"],
        ordinal=row["ordinal"],
        text=row["text"],
        span=Span(row["span_start"], row["span_end"]),
        heading_path=tuple(heading_path["path"]),
        metadata=metadata_from_json(heading_path.get("metadata", {})),
        boxes=unflattened(heading_path.get("boxes", ())),
        token_count=row["token_count"],
        page_start=row["page_start"] or None,
        page_end=row["page_end"] or None,
        title=row["title"],
        source_uri=row["source_uri"],
        media_type=row["media_type"],
    )


def to_stored(rows: Sequence[Mapping[str, Any]], vectors: Vectors, collection: Collection) -> StoredChunks:
    """Return what rows that have `CHUNK_COLUMNS` and `lexemes` hold, with their vectors."""
    chunks = [to_chunk(row, tenant_id=collection.tenant_id, collection_id=collection.id) for row in rows]
    return StoredChunks(chunks, vectors, [unescape_all(row["lexemes"]) for row in rows])


def vectors_of(rows: Sequence[Mapping[str, Any]], dimension: int) -> Vectors:
    """Return the column `dense` of `rows`, `(len(rows), dimension)`."""
    return np.array([row["dense"] for row in rows], np.float32).reshape(len(rows), dimension)
