"""Milvus Lite: `MilvusClient.hybrid_search` with the BM25 function and `RRFRanker`, on a local file.

The dense index is `AUTOINDEX` (HNSW), the analyser the one that Milvus Lite has: `standard`.
"""

from __future__ import annotations

from pathlib import Path

from pymilvus import AnnSearchRequest, DataType, Function, FunctionType, MilvusClient, RRFRanker

from benchmarks.peers_worker import Corpus, Search

PACKAGES = ("milvus-lite", "pymilvus")
_BATCH = 1_000
_PATIENCE_S = 900.0
_NAME = "passages"


def build(corpus: Corpus, folder: Path) -> Search:
    """Index a corpus in a file, and wait until its indexes are built."""
    client = MilvusClient(str(folder / "milvus_lite.db"))
    schema = client.create_schema()
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=512)
    schema.add_field("text", DataType.VARCHAR, max_length=65_535, enable_analyzer=True)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=corpus.vectors.shape[1])
    schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(Function("bm25", FunctionType.BM25, ["text"], ["sparse"]))
    indexes = client.prepare_index_params()
    indexes.add_index("dense", index_type="AUTOINDEX", metric_type="COSINE")
    indexes.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
    client.create_collection(_NAME, schema=schema, index_params=indexes)
    for start in range(0, len(corpus.ids), _BATCH):
        part = slice(start, start + _BATCH)
        rows = zip(corpus.ids[part], corpus.texts[part], corpus.vectors[part], strict=True)
        columns = [{"id": own_id, "text": text, "dense": vector} for own_id, text, vector in rows]
        client.insert(_NAME, columns, timeout=_PATIENCE_S)
    client.flush(_NAME, timeout=_PATIENCE_S)
    client.release_collection(_NAME)  # loading builds the indexes of what was inserted since
    client.load_collection(_NAME, timeout=_PATIENCE_S)
    vector_of = corpus.lookup()

    def search(query: str, top_k: int) -> list[str]:
        dense = AnnSearchRequest([vector_of(query)], "dense", {"metric_type": "COSINE"}, top_k)
        sparse = AnnSearchRequest([query], "sparse", {"metric_type": "BM25"}, top_k)
        found = client.hybrid_search(
            _NAME, [dense, sparse], RRFRanker(), limit=top_k, output_fields=["id", "text"]
        )
        return [hit["id"] for hit in found[0]]

    return search
