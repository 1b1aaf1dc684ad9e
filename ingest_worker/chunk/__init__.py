"""Chunking: a parsed document is cut into passages that the embedding model can read whole."""

from ingest_worker.chunk.registry import chunk_document

__all__ = ["chunk_document"]
