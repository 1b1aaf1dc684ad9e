from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from rag_server.backends.local_blobs import LocalBlobStore
from rag_server.errors import NotFound, ResourceExhausted, Unavailable

DATA = "ñandú".encode()
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
async def store(tmp_path: Path) -> LocalBlobStore:
    store = LocalBlobStore(tmp_path / "blobs")
    await store.open()
    return store


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_blob_that_is_kept_can_be_read(store: LocalBlobStore, tmp_path: Path) -> None:
    staged = await store.stage("acme", pieces(DATA[:3], b"", DATA[3:]), limit_bytes=100)
    assert (staged.sha256, staged.size_bytes) == (DIGEST, len(DATA))
    with pytest.raises(NotFound):
        await store.read("acme", DIGEST)
    await staged.keep()
    await staged.keep()
    await staged.discard()
    assert await store.read("acme", DIGEST) == DATA
    assert files(tmp_path) == [tmp_path / "blobs" / "acme" / DIGEST[:2] / DIGEST]


async def test_blob_belongs_to_its_tenant(store: LocalBlobStore) -> None:
    await (await store.stage("acme", pieces(DATA), limit_bytes=100)).keep()
    with pytest.raises(NotFound) as caught:
        await store.read("other", DIGEST)
    assert caught.value.reason == "BLOB_NOT_FOUND"
    await store.delete("other", DIGEST)
    assert await store.read("acme", DIGEST) == DATA


async def test_blob_that_is_discarded_leaves_nothing(store: LocalBlobStore, tmp_path: Path) -> None:
    staged = await store.stage("acme", pieces(DATA), limit_bytes=100)
    await staged.discard()
    await staged.discard()
    assert files(tmp_path) == []


async def test_blob_kept_twice_by_two_uploads_is_one(store: LocalBlobStore, tmp_path: Path) -> None:
    both = [await store.stage("acme", pieces(DATA), limit_bytes=100) for _ in range(2)]
    for staged in both:
        await staged.keep()
    assert len(files(tmp_path)) == 1


async def test_blob_of_no_bytes_has_size_zero(store: LocalBlobStore) -> None:
    staged = await store.stage("acme", pieces(), limit_bytes=100)
    assert (staged.size_bytes, staged.sha256) == (0, hashlib.sha256().hexdigest())


async def test_blob_of_exactly_the_limit_is_taken(store: LocalBlobStore) -> None:
    assert (await store.stage("acme", pieces(DATA), limit_bytes=len(DATA))).size_bytes == len(DATA)


async def test_blob_over_the_limit_is_refused_while_it_comes_in(
    store: LocalBlobStore, tmp_path: Path
) -> None:
    asked = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield b"x" * 10

    with pytest.raises(ResourceExhausted) as caught:
        await store.stage("acme", endless(), limit_bytes=25)
    assert caught.value.reason == "DOCUMENT_TOO_LARGE"
    assert caught.value.metadata == {"limit_bytes": "25"}
    assert not caught.value.is_retryable
    assert asked == 3
    assert files(tmp_path) == []


async def test_blob_whose_stream_breaks_leaves_nothing(store: LocalBlobStore, tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield DATA
        raise KeyError

    with pytest.raises(KeyError):
        await store.stage("acme", broken(), limit_bytes=100)
    assert files(tmp_path) == []


async def test_blob_whose_upload_is_cancelled_leaves_nothing(store: LocalBlobStore, tmp_path: Path) -> None:
    waiting = asyncio.Event()

    async def hanging() -> AsyncIterator[bytes]:
        yield DATA
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(store.stage("acme", hanging(), limit_bytes=100))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files(tmp_path) == []


async def test_blob_cancelled_during_a_write_keeps_the_file_open_until_the_thread_is_done(
    store: LocalBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, release = threading.Event(), threading.Event()
    write = os.write
    written: list[int] = []

    def slow_write(descriptor: int, data: Any) -> int:
        writing.set()
        release.wait(30)
        written.append(write(descriptor, data))  # EBADF, or another file's number, once it is closed
        return written[-1]

    monkeypatch.setattr(os, "write", slow_write)
    task = asyncio.create_task(store.stage("acme", pieces(DATA), limit_bytes=100))
    await asyncio.to_thread(writing.wait, 30)
    task.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert written == [len(DATA)]
    assert files(tmp_path) == []


async def test_open_clears_what_a_crash_left_and_keeps_what_was_kept(
    store: LocalBlobStore, tmp_path: Path
) -> None:
    await (await store.stage("acme", pieces(DATA), limit_bytes=100)).keep()
    await store.stage("acme", pieces(b"half"), limit_bytes=100)
    assert len(files(tmp_path)) == 2
    again = LocalBlobStore(tmp_path / "blobs")
    await again.open()
    assert len(files(tmp_path)) == 1
    assert await again.read("acme", DIGEST) == DATA


async def test_delete_removes_and_may_be_repeated(store: LocalBlobStore) -> None:
    await (await store.stage("acme", pieces(DATA), limit_bytes=100)).keep()
    await store.delete("acme", DIGEST)
    await store.delete("acme", DIGEST)
    with pytest.raises(NotFound):
        await store.read("acme", DIGEST)


def failing(code: int) -> Any:
    def fail(*args: object, **kwargs: object) -> NoReturn:
        raise OSError(code, os.strerror(code), "/srv/secret")

    return fail


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["write", "fsync"])
async def test_stage_on_a_full_disk_is_refused_and_leaves_nothing(
    store: LocalBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    monkeypatch.setattr(os, call, failing(code))
    with pytest.raises(ResourceExhausted) as caught:
        await store.stage("acme", pieces(DATA), limit_bytes=100)
    assert caught.value.reason == "DISK_FULL"
    assert caught.value.is_retryable
    assert files(tmp_path) == []


async def test_stage_writes_all_of_a_piece_when_the_system_takes_part_of_it(
    store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:2]))
    staged = await store.stage("acme", pieces(DATA), limit_bytes=100)
    await staged.keep()
    assert await store.read("acme", DIGEST) == DATA


async def test_stage_on_a_broken_disk_is_unavailable_without_the_path(
    store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "write", failing(errno.EIO))
    with pytest.raises(Unavailable) as caught:
        await store.stage("acme", pieces(DATA), limit_bytes=100)
    assert caught.value.reason == "BLOB_STORE_UNAVAILABLE"
    assert "secret" not in caught.value.message


async def test_keep_on_a_full_disk_is_refused(store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    staged = await store.stage("acme", pieces(DATA), limit_bytes=100)
    monkeypatch.setattr(Path, "replace", failing(errno.ENOSPC))
    with pytest.raises(ResourceExhausted) as caught:
        await staged.keep()
    assert caught.value.reason == "DISK_FULL"


@pytest.mark.parametrize(("method", "name"), [("read", "read_bytes"), ("delete", "unlink")])
async def test_failing_disk_is_unavailable(
    store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch, method: str, name: str
) -> None:
    monkeypatch.setattr(Path, name, failing(errno.EIO))
    with pytest.raises(Unavailable):
        await getattr(store, method)("acme", DIGEST)


async def test_open_in_an_impossible_place_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable):
        await LocalBlobStore(tmp_path / "file" / "blobs").open()
