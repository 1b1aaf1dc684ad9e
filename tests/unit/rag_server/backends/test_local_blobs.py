from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path
from typing import Any, NoReturn

import pytest

from rag_server.backends.local_blobs import LocalBlobStore
from rag_server.errors import ResourceExhausted, Unavailable
from rag_server.testing.blob_store_suite import DATA, DIGEST, BlobPlace, BlobStoreSuite, pieces


class Folder(BlobPlace):
    def __init__(self, path: Path) -> None:
        self.path = path

    async def open(self) -> LocalBlobStore:
        store = LocalBlobStore(self.path)
        await store.open()
        return store

    def files(self) -> list[str]:
        return [str(path) for path in files(self.path)]

    def overwrite(self, tenant_id: str, sha256: str, data: bytes) -> None:
        (self.path / tenant_id / sha256[:2] / sha256).write_bytes(data)


@pytest.fixture
def place(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "blobs")


@pytest.fixture
async def store(place: Folder) -> LocalBlobStore:
    return await place.open()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


class TestLocalBlobStore(BlobStoreSuite):
    pass


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


async def test_blob_stream_left_early_closes_its_file(store: LocalBlobStore) -> None:
    data = bytes(600_000)
    staged = await store.stage("acme", pieces(data), limit_bytes=len(data))
    await staged.keep()
    before = len(list(Path("/proc/self/fd").iterdir()))
    stream = store.stream("acme", staged.sha256)
    await anext(stream)
    await stream.aclose()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
