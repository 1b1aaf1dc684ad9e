"""The chunk store as a retrieval engine, over Milvus Lite in this process and over a server.

`milvus-lite server` stands in for a Milvus server; it is reached, and indexed, as one.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from pymilvus import AsyncMilvusClient

from rag_server.backends.milvus import MilvusChunkStore
from rag_server.testing.chunk_reading_suite import ChunkReadingSuite
from rag_server.testing.retrieval_corpus import CorpusDocument
from rag_server.testing.retriever_suite import RetrieverSuite
from rag_server.testing.store_library import StoreLibrary


@pytest.fixture(scope="module")
def server_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    folder = tmp_path_factory.mktemp("server")
    command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", str(folder / "data")]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    with process.stdout:
        assert b"listening" in process.stdout.readline()
    yield f"http://127.0.0.1:{port}"
    process.send_signal(signal.SIGINT)
    process.wait(timeout=20)


@pytest.fixture(scope="module")
def lite_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lite") / "chunks.db"


class FlushedLibrary(StoreLibrary):
    """Moves the server's write buffer to disk after each write.

    In the buffer, Milvus Lite computes the statistics of BM25 over the rows that satisfy the condition. The
    store sees to that where the engine is its own; Milvus servers do not have the fault.
    """

    def __init__(self, store: MilvusChunkStore, flusher: AsyncMilvusClient) -> None:
        super().__init__(store)
        self._flusher = flusher

    async def put(self, documents: Sequence[CorpusDocument]) -> None:
        await super().put(documents)
        await self._flusher.flush(f"rag_{self.collection.uid}")


class TestMilvusLite(RetrieverSuite):
    @pytest.fixture
    async def library(self, lite_folder: Path) -> AsyncIterator[StoreLibrary]:
        store = await MilvusChunkStore.open(str(lite_folder), timeout_s=30)
        library = StoreLibrary(store)
        yield library
        await store.drop_collection(library.collection.uid)
        await store.close()


class TestMilvusServer(RetrieverSuite):
    @pytest.fixture
    async def library(self, server_uri: str) -> AsyncIterator[StoreLibrary]:
        store = await MilvusChunkStore.open(server_uri, dense_index="HNSW", timeout_s=30)
        flusher = AsyncMilvusClient(server_uri)
        library = FlushedLibrary(store, flusher)
        yield library
        await store.drop_collection(library.collection.uid)
        await flusher.close()
        await store.close()


class TestChunkStoreOnAServer(ChunkReadingSuite):
    """With the index that a server gets."""

    @pytest.fixture
    async def store(self, server_uri: str) -> AsyncIterator[MilvusChunkStore]:
        store = await MilvusChunkStore.open(
            server_uri, dense_index="HNSW", timeout_s=30, is_single_writer=True
        )
        yield store
        await store.close()
