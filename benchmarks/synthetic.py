"""Made-up collections of any size, written to a data folder as ingest would: for measuring, not for reading.

Texts follow Zipf's law over made-up words, with topics per document. Vectors are those that the embedding
model gives to some thousand of these texts, and points between them: they lie where real vectors lie, which
uniform noise does not, and an index over noise says nothing about one over texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from rag_server.backends.milvus.store import MilvusChunkStore
from rag_server.backends.onnx.embedder import OnnxEmbedder
from rag_server.backends.protocols import ChunkStore, Embeddings
from rag_server.domain.collection import Collection, NewCollection
from rag_server.domain.document import Chunk, NewDocument, Span, chunk_id
from rag_server.domain.publication import Publication
from rag_server.metadata.database import Database
from rag_server.text.analyzer import Analyzer

TENANT = "default"
CHUNKS_PER_DOCUMENT = 100
BASE_TEXTS = 3_000
WORDS_PER_CHUNK = 130
_SYLLABLES = ("ba", "co", "du", "fer", "gi", "lan", "mo", "nu", "per", "qui", "ra", "sol", "tre", "vi", "zan")
_FUNCTION_WORDS = (
    "the", "of", "and", "to", "in", "for", "is", "on", "that", "by", "with", "from", "are", "as", "at", "be",
)  # fmt: skip
_VOCABULARY = 30_000
_TOPIC_WORDS = 60


class Texts:
    """Draws texts and questions; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        fixed = np.random.default_rng(0)
        counts = fixed.integers(2, 5, _VOCABULARY)
        made = {
            "".join(fixed.choice(_SYLLABLES, count)) + str(index % 7 or "")
            for index, count in enumerate(counts)
        }
        self._words = np.array(sorted(made))
        fixed.shuffle(self._words)
        weights = 1.0 / np.arange(1, len(self._words) + 1)
        self._cumulated = np.cumsum(weights / weights.sum())

    def words(self, count: int) -> list[str]:
        """Return words by Zipf's law, a third of them function words."""
        drawn = self._words[np.searchsorted(self._cumulated, self._rng.random(count))]
        is_function = self._rng.random(count) < 1 / 3
        fillers = self._rng.choice(_FUNCTION_WORDS, count)
        return [str(word) for word in np.where(is_function, fillers, drawn)]

    def topic(self) -> list[str]:
        """Return the words that a document keeps coming back to."""
        return [str(word) for word in self._rng.choice(self._words, _TOPIC_WORDS)]

    def passage(self, topic: list[str], count: int = WORDS_PER_CHUNK) -> str:
        """Return one passage about a topic."""
        words = self.words(count)
        for place in np.flatnonzero(self._rng.random(count) < 0.3):
            words[place] = topic[int(self._rng.integers(len(topic)))]
        return " ".join(words) + "."

    def question(self) -> str:
        """Return a question of nine words: rare ones and common ones, unlike any before."""
        return f"what {' '.join(self.words(7))} {self._rng.choice(self._words)}?"


async def bases(embedder: OnnxEmbedder) -> Embeddings:
    """Return the vectors of texts of this kind, `(BASE_TEXTS, d)`."""
    texts = Texts(1)
    return await embedder.embed([texts.passage(texts.topic(), 16) for _ in range(BASE_TEXTS)])


def vectors_between(base: Embeddings, count: int, rng: np.random.Generator) -> Embeddings:
    """Return `count` unit vectors between two or three of `base` each, with a little noise."""
    drawn = base[rng.integers(len(base), size=(count, 3))]
    weights = rng.dirichlet([2.0, 1.0, 0.3], count).astype(np.float32)
    mixed = np.einsum("nk,nkd->nd", weights, drawn)
    mixed += rng.standard_normal(mixed.shape, np.float32) * 0.01
    unit: Embeddings = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    return unit


def _documents(
    collection: Collection, count: int, base: Embeddings
) -> Iterator[tuple[NewDocument, list[Chunk], Embeddings]]:
    texts = Texts(2)
    rng = np.random.default_rng(3)
    for number in range(count // CHUNKS_PER_DOCUMENT):
        name = f"document-{number:06d}"
        # `share` < s passes a share s of the documents
        document = NewDocument(
            collection.id, name, title=name, metadata={"share": float(rng.random()), "number": number}
        )
        topic = texts.topic()
        chunks = []
        for ordinal in range(CHUNKS_PER_DOCUMENT):
            text = texts.passage(topic)
            chunks.append(
                Chunk(
                    chunk_id(TENANT, collection.uid, name, 1, ordinal),
                    TENANT, collection.id, name, 1, ordinal, text,
                    Span(0, len(text)), ("Made up",), 200, None, None, name, "", "text/plain",
                )
            )  # fmt: skip
        yield document, chunks, vectors_between(base, CHUNKS_PER_DOCUMENT, rng)


async def publish(
    database: Database,
    store: ChunkStore,
    collection: Collection,
    document: NewDocument,
    chunks: list[Chunk],
    vectors: Embeddings,
) -> None:
    """Write one document as ingest would."""
    analyzer = Analyzer.for_language(collection.language)
    lexemes = [analyzer.analyze(chunk.text) for chunk in chunks]
    await store.upsert(collection, chunks, vectors, lexemes, dict(document.metadata))
    async with database.transaction() as tx:
        job = await tx.jobs.create(TENANT, collection.uid, document, chunking=collection.chunking)
        published = Publication(
            document.title, "text/plain", "0" * 64, 0, "en", len(chunks), 200 * len(chunks)
        )
        await tx.documents.publish(TENANT, job.id, published)
        await tx.metadata_fields.learn(TENANT, collection.uid, document.metadata)


async def seed(data_dir: Path, counts: Mapping[str, int]) -> None:
    """Make collections of so many chunks, by name, unless the folder holds them already."""
    data_dir.mkdir(parents=True, exist_ok=True)
    missing = await _missing(data_dir, counts)
    if not missing:
        return
    embedder = await OnnxEmbedder.create()
    try:
        base = await bases(embedder)
        for name in missing:
            await _seed(data_dir, name, counts[name], base, embedder.model.id)
    finally:
        await embedder.close()


async def _missing(data_dir: Path, counts: Mapping[str, int]) -> list[str]:
    database = await Database.open(f"sqlite+aiosqlite:///{data_dir / 'metadata.db'}")
    try:
        async with database.snapshot() as tx:
            present = {each.id: each.chunk_count for each in await tx.collections.list(TENANT, limit=100)}
    finally:
        await database.close()
    return [name for name, count in counts.items() if present.get(name) != count]


async def _seed(data_dir: Path, name: str, count: int, base: Embeddings, model_id: str) -> None:
    database = await Database.open(f"sqlite+aiosqlite:///{data_dir / 'metadata.db'}")
    store = await MilvusChunkStore.open(str(data_dir / "chunks.db"), timeout_s=120)
    try:
        async with database.transaction() as tx:
            collection = await tx.collections.create(
                TENANT, NewCollection(name, language="en"), embedding_model=model_id, dimension=base.shape[1]
            )
        await store.ensure_collection(collection)
        for document, chunks, vectors in _documents(collection, count, base):
            await publish(database, store, collection, document, chunks, vectors)
    finally:
        await store.close()
        await database.close()
