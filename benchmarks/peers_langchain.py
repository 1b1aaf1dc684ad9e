"""LangChain: `EnsembleRetriever` (weights 0.5 and 0.5, c = 60) over `BM25Retriever` and Chroma in memory.

Only `k` is set, from 4 to as many passages as are wanted. `BM25Retriever` splits at white space, in any
language.
"""

from __future__ import annotations

from pathlib import Path

from langchain_chroma import Chroma  # type: ignore[import-not-found]  # lives in the peers' environment
from langchain_classic.retrievers import EnsembleRetriever  # type: ignore[import-not-found]
from langchain_community.retrievers import BM25Retriever  # type: ignore[import-not-found]
from langchain_core.documents import Document  # type: ignore[import-not-found]
from langchain_core.embeddings import Embeddings  # type: ignore[import-not-found]

from benchmarks.peers_worker import Corpus, Search

PACKAGES = ("langchain-classic", "langchain-community", "langchain-chroma", "chromadb", "rank-bm25")
_BATCH = 5_000
"""Chroma takes at most 5 461 passages at once."""


class _Lookup(Embeddings):  # type: ignore[misc]  # the base class is unknown here
    def __init__(self, corpus: Corpus) -> None:
        self._vector_of = corpus.lookup()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors of passages."""
        return [self._vector_of(text).tolist() for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query."""
        return list(self._vector_of(text).tolist())


def build(corpus: Corpus, folder: Path) -> Search:
    """Index a corpus in memory."""
    documents = [
        Document(page_content=text, metadata={"id": own_id}, id=own_id)
        for own_id, text in zip(corpus.ids, corpus.texts, strict=True)
    ]
    chroma = Chroma(collection_name="passages", embedding_function=_Lookup(corpus))
    for start in range(0, len(documents), _BATCH):
        chroma.add_documents(documents[start : start + _BATCH])
    bm25 = BM25Retriever.from_documents(documents)
    dense = chroma.as_retriever()
    ensemble = EnsembleRetriever(retrievers=[bm25, dense], weights=[0.5, 0.5])

    def search(query: str, top_k: int) -> list[str]:
        bm25.k = top_k
        dense.search_kwargs = {"k": top_k}
        # It returns the union of both lists.
        return [document.metadata["id"] for document in ensemble.invoke(query)[:top_k]]

    return search
