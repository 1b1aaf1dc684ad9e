"""The roles that the business code is written against. Adapters are chosen in `rag_server.app` only.

Every wait in an adapter is cancellable: deadlines reach it as `asyncio.CancelledError`, upon which it
stops the work (not only the waiting). Adapters raise `rag_server.errors`, never their library's.
"""

from __future__ import annotations

from rag_server.backends.protocols.blobs import BlobStore, StagedBlob
from rag_server.backends.protocols.chunks import ChunkStore
from rag_server.backends.protocols.embedding import Embedder, EmbeddingModel, Embeddings, Offsets, Tokenizer
from rag_server.backends.protocols.events import EventBus, ServerEvents
from rag_server.backends.protocols.generation import (
    MESSAGE_TOKENS,
    AnswerStore,
    Generator,
    GeneratorModel,
    Price,
)
from rag_server.backends.protocols.jobs import Delivery, JobMessage, JobQueue

__all__ = [
    "MESSAGE_TOKENS",
    "AnswerStore",
    "BlobStore",
    "ChunkStore",
    "Delivery",
    "Embedder",
    "EmbeddingModel",
    "Embeddings",
    "EventBus",
    "Generator",
    "GeneratorModel",
    "JobMessage",
    "JobQueue",
    "Offsets",
    "Price",
    "ServerEvents",
    "StagedBlob",
    "Tokenizer",
]
