"""The store in memory behaves as every chunk store must."""

from __future__ import annotations

import pytest

from rag_server.testing.chunk_reading_suite import ChunkReadingSuite
from rag_server.testing.memory_chunk_store import MemoryChunkStore


class TestMemoryChunkStore(ChunkReadingSuite):
    @pytest.fixture
    def store(self) -> MemoryChunkStore:
        return MemoryChunkStore()
