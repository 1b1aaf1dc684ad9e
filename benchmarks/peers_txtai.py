"""txtai: `Embeddings` with `hybrid` (weights 0.5 and 0.5) and `content`, so that texts are returned.

Dense: Faiss, whose kind of index txtai chooses by size; sparse: its BM25, for words of the Latin alphabet.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from txtai import Embeddings  # type: ignore[import-not-found]  # lives in the peers' environment

from benchmarks.peers_worker import Corpus, Search, Vectors

PACKAGES = ("txtai", "faiss-cpu")


def build(corpus: Corpus, folder: Path) -> Search:
    """Index a corpus in memory."""
    vector_of = corpus.lookup()

    def transform(texts: list[str]) -> Vectors:
        return np.stack([vector_of(text) for text in texts])

    embeddings = Embeddings(method="external", transform=transform, hybrid=True, content=True)
    embeddings.index(zip(corpus.ids, corpus.texts, strict=True))

    def search(query: str, top_k: int) -> list[str]:
        return [row["id"] for row in embeddings.search(query, top_k)]

    return search
