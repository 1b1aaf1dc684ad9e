"""How long a document that was just published takes to be searched in memory."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np

from benchmarks.synthetic import CHUNKS_PER_DOCUMENT, TENANT, Texts, publish
from rag_server.backends.milvus.store import MilvusChunkStore
from rag_server.backends.recent_chunks import RecentChunkStore
from rag_server.domain.document import Chunk, NewDocument, Span, chunk_id
from rag_server.domain.ids import new_id
from rag_server.metadata.database import Database
from rag_server.query.resident.collection import ResidentCollection
from rag_server.query.resident.snapshot import SnapshotFolder
from rag_server.query.resident.source import CollectionSource

REPETITIONS = 7


async def measure_increment(data_dir: Path, name: str) -> float:
    """Return the median milliseconds from a commit of 100 passages to a state in memory that holds them.

    The collection grows by what is measured, and is left as it was: the documents are deleted.
    """
    database = await Database.open(f"sqlite+aiosqlite:///{data_dir / 'metadata.db'}")
    store = RecentChunkStore(await MilvusChunkStore.open(str(data_dir / "chunks.db"), timeout_s=120))
    texts = Texts(5)
    rng = np.random.default_rng(5)
    seconds = []
    try:
        async with database.snapshot() as tx:
            collection = await tx.collections.get(TENANT, name)
        resident = ResidentCollection(
            collection, CollectionSource(database, store), SnapshotFolder(data_dir / "resident")
        )
        await resident.load()
        for _ in range(REPETITIONS):
            document = NewDocument(name, new_id(), title="increment")
            topic = texts.topic()
            chunks = []
            for ordinal in range(CHUNKS_PER_DOCUMENT):
                text = texts.passage(topic)
                own_id = chunk_id(TENANT, collection.uid, document.document_id, 1, ordinal)
                chunks.append(
                    Chunk(
                        own_id, TENANT, name, document.document_id, 1, ordinal, text,
                        Span(0, len(text)), (), 200, None, None, "increment", "", "text/plain",
                    )
                )  # fmt: skip
            vectors = rng.standard_normal((len(chunks), collection.dimension)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            await publish(database, store, collection, document, chunks, vectors)
            started = time.perf_counter()
            is_visible = await resident.catch_up(resident.state.revision + 1)
            seconds.append(time.perf_counter() - started)
            assert is_visible, "the increment did not arrive"
            async with database.transaction() as tx:
                await tx.documents.delete(TENANT, collection.uid, document.document_id)
            await store.delete_document(TENANT, collection.uid, document.document_id)
            await resident.catch_up(resident.state.revision + 1)
    finally:
        await store.close()
        await database.close()
    return 1e3 * statistics.median(seconds)
