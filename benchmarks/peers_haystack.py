"""Haystack: `InMemoryDocumentStore`, both its retrievers, and `DocumentJoiner` in a `Pipeline`.

The joiner's mode is reciprocal rank fusion: the default, `concatenate`, orders cosines and BM25 scores in one
list and leaves the rest to a reranking model. The store's BM25 is BM25L over words, in any language.
"""

from __future__ import annotations

from pathlib import Path

from haystack import Document, Pipeline, component  # type: ignore[import-not-found]  # in the peers' environment
from haystack.components.joiners import DocumentJoiner  # type: ignore[import-not-found]
from haystack.components.retrievers.in_memory import (  # type: ignore[import-not-found]
    InMemoryBM25Retriever,
    InMemoryEmbeddingRetriever,
)
from haystack.document_stores.in_memory import InMemoryDocumentStore  # type: ignore[import-not-found]

from benchmarks.peers_worker import Corpus, Search

PACKAGES = ("haystack-ai",)


@component
class _Lookup:
    def __init__(self, corpus: Corpus) -> None:
        self._vector_of = corpus.lookup()

    @component.output_types(embedding=list[float])  # type: ignore[untyped-decorator]
    def run(self, text: str) -> dict[str, list[float]]:
        """Return the vector of a query, as a text embedder does."""
        return {"embedding": self._vector_of(text).tolist()}


def build(corpus: Corpus, folder: Path) -> Search:
    """Index a corpus in memory."""
    store = InMemoryDocumentStore()
    store.write_documents(
        [
            Document(id=own_id, content=text, embedding=vector.tolist())
            for own_id, text, vector in zip(corpus.ids, corpus.texts, corpus.vectors, strict=True)
        ]
    )
    pipeline = Pipeline()
    pipeline.add_component("embedder", _Lookup(corpus))
    pipeline.add_component("dense", InMemoryEmbeddingRetriever(store))
    pipeline.add_component("bm25", InMemoryBM25Retriever(store))
    pipeline.add_component("joiner", DocumentJoiner(join_mode="reciprocal_rank_fusion"))
    pipeline.connect("embedder.embedding", "dense.query_embedding")
    pipeline.connect("bm25", "joiner")
    pipeline.connect("dense", "joiner")

    def search(query: str, top_k: int) -> list[str]:
        limit = {"top_k": top_k}
        found = pipeline.run(
            {"embedder": {"text": query}, "bm25": {"query": query, **limit}, "dense": limit, "joiner": limit}
        )
        return [document.id for document in found["joiner"]["documents"]]

    return search
