"""What a collection looks like in Milvus: its name, its columns, its indexes."""

from __future__ import annotations

import re
from typing import Any, Literal

from pymilvus import CollectionSchema, DataType, FieldSchema, Function, FunctionType
from pymilvus.milvus_client.index import IndexParams

from rag_server.domain.lexical import Bm25
from rag_server.errors import Internal

DenseIndex = Literal["FLAT", "HNSW"]
"""FLAT scans all vectors (exact); HNSW is a graph (Malkov and Yashunin, TPAMI 2020), approximate."""

MAX_VARCHAR_BYTES = 65_535
"""The longest VARCHAR that Milvus takes, in bytes of UTF-8."""
MAX_JSON_BYTES = 65_535
MAX_ID_BYTES = 512
MAX_RESULTS = 16_384
"""The most rows that Milvus returns from one search or query."""

COLUMN_BYTES = {
    "id": MAX_ID_BYTES,
    "tenant_id": MAX_ID_BYTES,
    "document_id": MAX_VARCHAR_BYTES,
    "text": MAX_VARCHAR_BYTES,
    "lexemes": MAX_VARCHAR_BYTES,
    "title": MAX_VARCHAR_BYTES,
    "source_uri": MAX_VARCHAR_BYTES,
    "media_type": MAX_ID_BYTES,
}
"""Declared length of each VARCHAR column, in bytes of UTF-8."""
INTEGER_COLUMNS = (
    "document_revision",
    "ordinal",
    "token_count",
    "span_start",
    "span_end",
    "page_start",
    "page_end",
)
CHUNK_COLUMNS = (
    *(name for name in COLUMN_BYTES if name not in {"tenant_id", "lexemes"}),
    *INTEGER_COLUMNS,
    "heading_path",
)
"""What is read back. Always named: without a list Milvus Lite returns the vectors too."""
STORED_COLUMNS = (*CHUNK_COLUMNS, "tenant_id", "lexemes", "dense")
"""All that a chunk was written with, but its metadata, which its document has."""

_UID = re.compile(r"[0-9a-f]{32}")
_LEAST_K1 = 1e-9
"""Milvus Lite refuses 0; this gives the same scores, to the precision of a float32."""
_HNSW_LINKS = 16
_HNSW_BUILD_BREADTH = 200
_HNSW_SEARCH_BREADTH = 128


def collection_name(uid: str) -> str:
    """Return the name of the Milvus collection for `Collection.uid`; raises `Internal` for a foreign one."""
    if not _UID.fullmatch(uid):
        raise Internal("COLLECTION_UID_INVALID", "a collection has an invalid internal id")
    return f"rag_{uid}"


def collection_schema(dimension: int) -> CollectionSchema:
    """Return the columns for vectors of `dimension` floats; `sparse` is computed by Milvus from `lexemes`."""
    fields = [
        FieldSchema("id", DataType.VARCHAR, is_primary=True, max_length=COLUMN_BYTES["id"]),
        *(
            FieldSchema(name, DataType.VARCHAR, max_length=size)
            for name, size in COLUMN_BYTES.items()
            if name not in {"id", "lexemes"}
        ),
        FieldSchema(
            "lexemes",
            DataType.VARCHAR,
            max_length=COLUMN_BYTES["lexemes"],
            enable_analyzer=True,
            analyzer_params={"tokenizer": "standard"},
        ),
        *(FieldSchema(name, DataType.INT64) for name in INTEGER_COLUMNS),
        FieldSchema("heading_path", DataType.JSON),
        FieldSchema("metadata", DataType.JSON),
        FieldSchema("dense", DataType.FLOAT_VECTOR, dim=dimension),
        FieldSchema("sparse", DataType.SPARSE_FLOAT_VECTOR),
    ]
    bm25 = Function("lexemes_bm25", FunctionType.BM25, ["lexemes"], ["sparse"])
    return CollectionSchema(fields, functions=[bm25], enable_dynamic_field=False)


def index_params(dense_index: DenseIndex, bm25: Bm25) -> dict[str, IndexParams]:
    """Return one index definition for each of the two vector columns.

    The parameters are nested once more under `params`, the old spelling that servers still take:
    Milvus Lite reads only that one and would silently use its defaults, k1 = 1.5 among them.
    """
    dense = IndexParams()
    links = {"M": _HNSW_LINKS, "efConstruction": _HNSW_BUILD_BREADTH} if dense_index == "HNSW" else {}
    dense.add_index(
        "dense", index_type=dense_index, metric_type="COSINE", params={"params": links} if links else {}
    )
    sparse = IndexParams()
    sparse.add_index(
        "sparse",
        index_type="SPARSE_INVERTED_INDEX",
        metric_type="BM25",
        params={"params": {"bm25_k1": max(bm25.k1, _LEAST_K1), "bm25_b": bm25.b}},
    )
    return {"dense": dense, "sparse": sparse}


def dense_search_params(dense_index: DenseIndex, limit: int) -> dict[str, Any]:
    """Return the parameters of a dense search for `limit` rows; HNSW looks at as many or more."""
    breadth = {"ef": max(_HNSW_SEARCH_BREADTH, limit)} if dense_index == "HNSW" else {}
    return {"metric_type": "COSINE", "params": breadth}
