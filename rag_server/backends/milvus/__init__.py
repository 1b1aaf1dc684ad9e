"""The `ChunkStore` on Milvus: Milvus Lite in this process, or a Milvus server."""

from __future__ import annotations

from rag_server.backends.milvus.store import MilvusChunkStore

__all__ = ["MilvusChunkStore"]
