"""LanceDB: hybrid search (reciprocal rank fusion, K = 60) over a table with a full-text index.

The index has the language of the corpus, as its stemming and stop words need; all else is as it comes. There
is no vector index unless one asks for it: vectors are scanned.
"""

from __future__ import annotations

from pathlib import Path

import lancedb  # type: ignore[import-not-found]  # lives in the peers' environment
import pyarrow as pa

from benchmarks.peers_worker import Corpus, Search

PACKAGES = ("lancedb",)
_LANGUAGES = {"en": "English", "es": "Spanish"}


def build(corpus: Corpus, folder: Path) -> Search:
    """Index a corpus in files."""
    dimension = corpus.vectors.shape[1]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(corpus.vectors.ravel()), dimension)
    rows = pa.table({"id": corpus.ids, "text": corpus.texts, "vector": vectors})
    table = lancedb.connect(folder / "lancedb").create_table("passages", rows)
    table.create_fts_index("text", language=_LANGUAGES[corpus.language])
    vector_of = corpus.lookup()

    def search(query: str, top_k: int) -> list[str]:
        hybrid = table.search(query_type="hybrid").vector(vector_of(query)).text(query)
        return [row["id"] for row in hybrid.select(["id", "text"]).limit(top_k).to_list()]

    return search
