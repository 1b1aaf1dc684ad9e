"""The Milvus store: the conformance suite over both ways to reach Milvus, and what is its own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rag_server.backends.milvus import MilvusChunkStore, write_buffer
from rag_server.backends.milvus import store as store_module
from rag_server.errors import Internal, Unavailable
from rag_server.testing.chunk_reading_suite import ChunkReadingSuite
from rag_server.testing.chunks import axis, make_chunk, make_collection


def start_server(folder: Path, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", str(folder)]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    with process.stdout:
        assert b"listening" in process.stdout.readline()
    return process


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    process = start_server(tmp_path_factory.mktemp("server") / "data", port)
    yield f"http://127.0.0.1:{port}"
    process.send_signal(signal.SIGINT)
    process.wait(timeout=20)


@pytest.fixture(scope="module")
def lite_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lite") / "chunks.db"


class TestEmbedded(ChunkReadingSuite):
    @pytest.fixture
    async def store(self, lite_folder: Path) -> AsyncIterator[MilvusChunkStore]:
        store = await MilvusChunkStore.open(str(lite_folder))
        yield store
        await store.close()


class TestServer(ChunkReadingSuite):
    @pytest.fixture
    async def store(self, server_uri: str) -> AsyncIterator[MilvusChunkStore]:
        store = await MilvusChunkStore.open(server_uri, timeout_s=30, is_single_writer=True)
        yield store
        await store.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[MilvusChunkStore]:
    opened = await MilvusChunkStore.open(str(tmp_path / "chunks.db"))
    yield opened
    await opened.close()


async def test_store_reopened_in_the_same_process_has_its_chunks(tmp_path: Path) -> None:
    collection = make_collection()
    for round_number in range(3):
        store = await MilvusChunkStore.open(str(tmp_path / "chunks.db"))
        await store.ensure_collection(collection)
        await store.upsert(collection, [make_chunk(round_number)], axis(0), [["word"]], {})
        assert await store.count(collection) == round_number + 1
        await store.close()


async def test_store_reopened_finds_without_ensure_collection(tmp_path: Path) -> None:
    collection = make_collection()
    for _ in range(2):
        store = await MilvusChunkStore.open(str(tmp_path / "chunks.db"))
        found = await store.search_lexical(collection, ["word"], limit=3)
        await store.ensure_collection(collection)
        await store.upsert(collection, [make_chunk(0)], axis(0), [["word"]], {})
        await store.close()
    assert [hit.chunk for hit in found] == [make_chunk(0)]


async def test_open_of_a_folder_in_use_says_locked_without_its_path(
    tmp_path: Path, store: MilvusChunkStore
) -> None:
    with pytest.raises(Unavailable) as caught:
        await MilvusChunkStore.open(str(tmp_path / "chunks.db"))
    assert caught.value.reason == "VECTOR_STORE_LOCKED"
    assert str(tmp_path) not in caught.value.message
    await store.check()


async def test_open_of_a_folder_locked_by_another_process_says_locked(tmp_path: Path) -> None:
    folder = tmp_path / "chunks.db"
    code = (
        "import sys; from milvus_lite.db import MilvusLite; db = MilvusLite(sys.argv[1]);"
        "print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"open\n"
        with pytest.raises(Unavailable) as caught:
            await MilvusChunkStore.open(str(folder))
        owner.communicate()
    assert caught.value.reason == "VECTOR_STORE_LOCKED"


async def test_open_where_a_file_is_in_the_way_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "chunks.db").write_text("not a folder")
    with pytest.raises(Unavailable) as caught:
        await MilvusChunkStore.open(str(tmp_path / "chunks.db"))
    assert caught.value.reason == "VECTOR_STORE_UNAVAILABLE"


async def test_open_without_a_server_is_unavailable() -> None:
    with pytest.raises(Unavailable) as caught:
        await MilvusChunkStore.open(f"http://127.0.0.1:{free_port()}", timeout_s=0.5)
    assert caught.value.reason == "VECTOR_STORE_UNAVAILABLE"


async def test_calls_after_the_server_died_are_unavailable_and_say_nothing_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    process = start_server(tmp_path / "data", port)
    store = await MilvusChunkStore.open(f"http://127.0.0.1:{port}", timeout_s=30)
    collection = make_collection()
    await store.ensure_collection(collection)
    await store.upsert(collection, [make_chunk(0)], axis(0), [["word"]], {})
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    calls = (
        store.check(),
        store.count(collection),
        store.search_dense(collection, axis(0)[0], limit=1),
        store.upsert(collection, [make_chunk(0)], axis(0), [["word"]], {}),
        store.delete_document("acme", collection.uid, "guide"),
        store.ensure_collection(make_collection()),
        store.drop_collection(collection.uid),
    )
    for call in calls:
        with pytest.raises(Unavailable) as caught:
            await call
        assert caught.value.reason == "VECTOR_STORE_UNAVAILABLE"
        assert caught.value.message == "the vector store does not answer"
    assert not [record for record in caplog.records if record.name.startswith(("pymilvus", "milvus_lite"))]
    assert "Traceback" not in capfd.readouterr().err
    await store.close()


async def test_collection_dropped_by_another_client_reads_empty_and_refuses_writes(server_uri: str) -> None:
    ours = await MilvusChunkStore.open(server_uri, timeout_s=30)
    theirs = await MilvusChunkStore.open(server_uri, timeout_s=30)
    collection = make_collection()
    await ours.ensure_collection(collection)
    await ours.upsert(collection, [make_chunk(0)], axis(0), [["word"]], {})
    await theirs.drop_collection(collection.uid)
    assert await ours.search_lexical(collection, ["word"], limit=2) == []
    assert await ours.count(collection) == 0
    with pytest.raises(Exception, match="no collection"):
        await ours.upsert(collection, [make_chunk(0)], axis(0), [["word"]], {})
    await ours.close()
    await theirs.close()


async def test_collection_left_without_an_index_by_a_crash_is_completed(store: MilvusChunkStore) -> None:
    collection = make_collection()
    name = f"rag_{collection.uid}"
    client = store._connection.client
    await client.create_collection(name, schema=store_module.schema.collection_schema(collection.dimension))
    await store.ensure_collection(collection)
    await store.upsert(collection, [make_chunk(0)], axis(0), [["word"]], {})
    assert len(await store.search_lexical(collection, ["word"], limit=2)) == 1
    assert sorted(await client.list_indexes(name)) == ["dense", "sparse"]


async def test_collection_released_behind_our_back_is_loaded_again(store: MilvusChunkStore) -> None:
    collection = make_collection()
    await store.ensure_collection(collection)
    await store.upsert(collection, [make_chunk(0)], axis(0), [["word"]], {})
    await store._connection.client.release_collection(f"rag_{collection.uid}")
    assert len(await store.search_dense(collection, axis(0)[0], limit=2)) == 1


@pytest.mark.parametrize("column", ["text", "title", "source_uri", "id"])
async def test_upsert_of_a_value_longer_than_its_column_is_refused_whole(
    store: MilvusChunkStore, column: str
) -> None:
    collection = make_collection()
    await store.ensure_collection(collection)
    # 32 768 letters are 65 536 bytes: the limit is on bytes
    large = replace(make_chunk(1), **{column: "ñ" * 32_768})
    with pytest.raises(Internal) as caught:
        await store.upsert(collection, [make_chunk(0), large], np.eye(2, 8, dtype=np.float32), [[], []], {})
    assert (caught.value.reason, caught.value.metadata["column"]) == ("CHUNK_TOO_LARGE", column)
    assert await store.count(collection) == 0


async def test_upsert_of_the_longest_text_returns_it_whole(store: MilvusChunkStore) -> None:
    collection = make_collection()
    await store.ensure_collection(collection)
    chunk = replace(make_chunk(0), text="ñ" * 32_767)
    await store.upsert(collection, [chunk], axis(0), [["word"]], {})
    assert await store.list_chunks(collection, "guide", 1, first_ordinal=0, limit=1) == [chunk]


async def test_upsert_of_large_metadata_is_refused(store: MilvusChunkStore) -> None:
    collection = make_collection()
    await store.ensure_collection(collection)
    with pytest.raises(Internal, match="metadata"):
        await store.upsert(collection, [make_chunk(0)], axis(0), [[]], {"note": "x" * 70_000})


async def test_upsert_with_missing_lexeme_lists_is_refused(store: MilvusChunkStore) -> None:
    with pytest.raises(Internal) as caught:
        await store.upsert(make_collection(), [make_chunk(0)], axis(0), [], {})
    assert caught.value.reason == "LEXEMES_INVALID"


async def test_collection_with_a_foreign_uid_is_refused(store: MilvusChunkStore) -> None:
    with pytest.raises(Internal) as caught:
        await store.ensure_collection(replace(make_collection(), uid='x" or "1'))
    assert caught.value.reason == "COLLECTION_UID_INVALID"


async def test_cancelled_upsert_stops_after_the_batch_on_its_way(
    store: MilvusChunkStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = make_collection()
    await store.ensure_collection(collection)
    sent: list[int] = []
    started, may_end = asyncio.Event(), asyncio.Event()
    upsert = store._connection.client.upsert

    async def slow_upsert(name: str, rows: list[object], **options: object) -> object:
        sent.append(len(rows))
        started.set()
        await may_end.wait()
        return await upsert(name, rows, **options)

    monkeypatch.setattr(store._connection.client, "upsert", slow_upsert)
    chunks = [make_chunk(i) for i in range(300)]
    vectors = np.repeat(axis(0), 300, axis=0)
    writing = asyncio.create_task(store.upsert(collection, chunks, vectors, [[]] * 300, {}))
    await started.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    reading = asyncio.create_task(store.count(collection))  # waits for the batch on its way
    may_end.set()
    assert await reading == sent[0] == store_module._BATCH_ROWS
    assert len(sent) == 1


async def test_cancelled_search_leaves_the_collection_usable(
    store: MilvusChunkStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = make_collection()
    await store.ensure_collection(collection)
    started = asyncio.Event()
    search = store._connection.client.search

    async def slow_search(*arguments: object, **options: object) -> object:
        started.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(store._connection.client, "search", slow_search)
    searching = asyncio.create_task(store.search_dense(collection, axis(0)[0], limit=1))
    await started.wait()
    searching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await searching
    monkeypatch.setattr(store._connection.client, "search", search)
    await store.upsert(collection, [make_chunk(0)], axis(0), [["word"]], {})
    assert len(await store.search_dense(collection, axis(0)[0], limit=1)) == 1


async def test_call_that_exceeds_its_time_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await MilvusChunkStore.open(str(tmp_path / "chunks.db"), timeout_s=2)
    collection = make_collection()
    await store.ensure_collection(collection)

    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(store._connection.client, "query", never)
    with pytest.raises(Unavailable):
        await store.count(collection)
    await store.close()


async def test_upserts_that_fill_the_write_buffer_flush_it_once_and_lose_nothing(
    store: MilvusChunkStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_buffer, "_FLUSH_ROWS", 20)
    flushed: list[str] = []
    flush = store._connection.client.flush

    async def counted_flush(name: str) -> None:
        flushed.append(name)
        await flush(name)

    monkeypatch.setattr(store._connection.client, "flush", counted_flush)
    collection = make_collection()
    await store.ensure_collection(collection)
    for document in range(3):
        chunks = [make_chunk(i, document_id=f"d{document}") for i in range(10)]
        await store.upsert(collection, chunks, np.repeat(axis(0), 10, axis=0), [["word"]] * 10, {})
    assert flushed == [f"rag_{collection.uid}"]
    assert await store.count(collection) == 30
    await store.delete_document("acme", collection.uid, "d0")
    found = await store.search_lexical(collection, ["word"], limit=50)
    assert {hit.chunk.document_id for hit in found} == {"d1", "d2"}
    assert len(found) == 20
