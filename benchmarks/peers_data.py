"""The collections that peers are compared on: made-up ones of any size, and labelled ones in BEIR's layout.

Each goes to a data folder of the server and, as the same passages with the same vectors, to the peers.
BEIR's layout: `corpus.jsonl` (_id, title, text), `queries.jsonl` (_id, text), `qrels/test.tsv` (query-id,
corpus-id, score); Thakur et al., "BEIR", NeurIPS Datasets and Benchmarks 2021.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.peers_worker import Corpus, Vectors
from benchmarks.synthetic import CHUNKS_PER_DOCUMENT, TENANT, Texts, publish
from rag_server.backends.milvus.store import MilvusChunkStore
from rag_server.backends.onnx.embedder import OnnxEmbedder
from rag_server.domain.collection import NewCollection
from rag_server.domain.document import Chunk, NewDocument, Span, chunk_id
from rag_server.domain.priority import Priority
from rag_server.metadata.database import Database
from rag_server.text.language import detect_language

_EMBEDDED_AT_ONCE = 128
_QUERIES_TO_TELL_LANGUAGE = 200


@dataclass(frozen=True)
class Labelled:
    """A corpus whose queries have known answers."""

    name: str
    corpus: Corpus
    relevant: list[dict[str, float]]
    """Of each query the ids of its passages, with their grades."""


def ndcg(ranked: Sequence[str], relevant: Mapping[str, float], depth: int = 10) -> float:
    """Return nDCG at `depth`, 0 to 1, with linear gains, as trec_eval and BEIR count it.

    Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002.
    """
    gains = [relevant.get(own_id, 0.0) for own_id in ranked[:depth]]
    best = sorted(relevant.values(), reverse=True)[:depth]
    return _discounted(gains) / _discounted(best)


def _discounted(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains))


async def read_labelled(folder: Path, embedder: OnnxEmbedder, cache: Path | None) -> Labelled:
    """Return a set with the vectors of its passages (title and text) and of its queries with an answer.

    Vectors are kept in the folder `cache`, if there is one, under a digest of the texts.
    """
    passages, asked = _rows(folder / "corpus.jsonl"), _rows(folder / "queries.jsonl")
    grades: dict[str, dict[str, float]] = defaultdict(dict)
    lines = (folder / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()
    for query_id, passage_id, grade in (line.split("\t") for line in lines[1:]):
        if float(grade) > 0:
            grades[query_id][passage_id] = float(grade)
    asked = [row for row in asked if row["_id"] in grades]
    texts = [f"{row.get('title', '')} {row['text']}".strip() for row in passages]
    queries = [row["text"] for row in asked]
    corpus = Corpus(
        language=detect_language(" ".join(queries[:_QUERIES_TO_TELL_LANGUAGE])),
        ids=[row["_id"] for row in passages],
        texts=texts,
        vectors=await _embed(embedder, texts, cache),
        queries=queries,
        query_vectors=await _embed(embedder, queries, cache),
    )
    return Labelled(folder.name, corpus, [grades[row["_id"]] for row in asked])


async def read_made_up(data_dir: Path, name: str, embedder: OnnxEmbedder, query_count: int) -> Corpus:
    """Return a collection that `benchmarks.synthetic.seed` wrote, with new questions.

    No server may run on the folder meanwhile.
    """
    database = await Database.open(f"sqlite+aiosqlite:///{data_dir / 'metadata.db'}")
    store = await MilvusChunkStore.open(str(data_dir / "chunks.db"), timeout_s=120)
    ids: list[str] = []
    passages: list[str] = []
    vectors: list[Vectors] = []
    try:
        async with database.snapshot() as tx:
            collection = await tx.collections.get(TENANT, name)
        async for stored in store.scan(collection):
            ids += [chunk.id for chunk in stored.chunks]
            passages += [chunk.text for chunk in stored.chunks]
            vectors.append(stored.vectors)
    finally:
        await store.close()
        await database.close()
    texts = Texts(len(ids))
    queries = [texts.question() for _ in range(query_count)]
    query_vectors = await _embed(embedder, queries, None)
    return Corpus(collection.language, ids, passages, np.concatenate(vectors), queries, query_vectors)


async def publish_labelled(data_dir: Path, labelled: Labelled, model_id: str) -> None:
    """Make the collection of a labelled set in a data folder: one chunk per passage.

    Documents hold many passages each, which writes them sooner; `passage_index` tells them apart.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    database = await Database.open(f"sqlite+aiosqlite:///{data_dir / 'metadata.db'}")
    store = await MilvusChunkStore.open(str(data_dir / "chunks.db"), timeout_s=120)
    corpus = labelled.corpus
    try:
        async with database.transaction() as tx:
            collection = await tx.collections.create(
                TENANT,
                NewCollection(labelled.name, language=corpus.language),
                embedding_model=model_id,
                dimension=corpus.vectors.shape[1],
            )
        await store.ensure_collection(collection)
        for start in range(0, len(corpus.texts), CHUNKS_PER_DOCUMENT):
            name = str(start)
            chunks = [
                Chunk(
                    chunk_id(TENANT, collection.uid, name, 1, ordinal),
                    TENANT, collection.id, name, 1, ordinal, text,
                    Span(0, len(text)), (), 200, None, None, "", "", "text/plain",
                )
                for ordinal, text in enumerate(corpus.texts[start : start + CHUNKS_PER_DOCUMENT])
            ]  # fmt: skip
            vectors = corpus.vectors[start : start + CHUNKS_PER_DOCUMENT]
            await publish(database, store, collection, NewDocument(collection.id, name), chunks, vectors)
    finally:
        await store.close()
        await database.close()


def passage_index(document_id: str, ordinal: int) -> int:
    """Return which passage of its set a chunk is that `publish_labelled` made."""
    return int(document_id) + ordinal


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as lines:  # `splitlines` would also split at U+2028, which JSON may hold
        return [json.loads(line) for line in lines]


async def _embed(embedder: OnnxEmbedder, texts: Sequence[str], cache: Path | None) -> Vectors:
    digest = hashlib.sha256(json.dumps([embedder.model.id, *texts]).encode()).hexdigest()[:32]
    kept = cache / f"{digest}.npy" if cache else None
    if kept and kept.exists():
        found: Vectors = np.load(kept)
        return found
    vectors = np.zeros((len(texts), embedder.model.dimension), np.float32)
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    for start in range(0, len(order), _EMBEDDED_AT_ONCE):
        rows = order[start : start + _EMBEDDED_AT_ONCE]
        vectors[rows] = await embedder.embed([texts[row] for row in rows], priority=Priority.BULK)
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, vectors)
    return vectors
