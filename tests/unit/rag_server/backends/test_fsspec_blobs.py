"""The store over fsspec: the suite over two of its file systems, and what a remote store may do to it."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NoReturn

import fsspec
import pytest
import structlog.testing
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from rag_server.backends.fsspec_blobs import FsspecBlobStore
from rag_server.backends.s3_file_system import s3_file_system
from rag_server.errors import ResourceExhausted, Unavailable
from rag_server.testing.blob_store_suite import DATA, DIGEST, BlobPlace, BlobStoreSuite, keep, pieces


class Place(BlobPlace):
    def __init__(self, file_system: fsspec.AbstractFileSystem, root: str, spool: Path) -> None:
        self.file_system, self.root, self.spool = file_system, root, spool
        self.opened: list[FsspecBlobStore] = []

    async def open(self, **options: Any) -> FsspecBlobStore:
        store = FsspecBlobStore(self.file_system, self.root, self.spool, **options)
        self.opened.append(store)
        await store.open()
        return store

    def files(self) -> list[str]:
        spooled = [str(path) for path in self.spool.rglob("*") if path.is_file()]
        return [*self.file_system.find(self.root), *spooled]

    def overwrite(self, tenant_id: str, sha256: str, data: bytes) -> None:
        self.file_system.pipe_file(f"{self.root}/{tenant_id}/{sha256[:2]}/{sha256}", data)


@pytest.fixture(params=["memory", "local"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if request.param == "memory":
        place = Place(MemoryFileSystem(), f"/blobs-{uuid.uuid4().hex}", tmp_path / "spool")
    else:
        place = Place(LocalFileSystem(auto_mkdir=True), str(tmp_path / "blobs"), tmp_path / "spool")
    yield place
    for store in place.opened:
        await store.close()
    if place.file_system.exists(place.root):
        place.file_system.rm(place.root, recursive=True)


@pytest.fixture
async def store(place: Place) -> FsspecBlobStore:
    return await place.open()


class TestFsspecBlobStore(BlobStoreSuite):
    async def test_servers_that_share_a_store_leave_each_others_uploads_alone(
        self, store: FsspecBlobStore, place: Place, tmp_path: Path
    ) -> None:
        staged = await store.stage("acme", pieces(DATA), limit_bytes=100)
        other = await Place(place.file_system, place.root, tmp_path / "other").open()
        await staged.keep()
        assert await other.read("acme", DIGEST) == DATA
        await other.close()


class ServiceError(Exception):
    """An error as botocore makes them: no `OSError`, and with the service's answer."""

    def __init__(self, code: str) -> None:
        super().__init__("secret text")
        self.response = {"Error": {"Code": code}}


def failing(error: Exception) -> Callable[..., NoReturn]:
    def fail(*args: object, **kwargs: object) -> NoReturn:
        raise error

    return fail


CALLS: dict[str, Callable[[FsspecBlobStore], Any]] = {
    "cat_file": lambda store: store.read("acme", DIGEST),
    "put_file": lambda store: keep(store, b"other"),
    "rm_file": lambda store: store.delete("acme", DIGEST),
    "ls": lambda store: store.open(),
    "info": lambda store: store.size("acme", DIGEST),
    "open": lambda store: anext(store.stream("acme", DIGEST)),
}


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize(
    "error", [ServiceError("SlowDown"), PermissionError("secret text"), RuntimeError("secret text")]
)
async def test_failing_store_is_unavailable_without_its_text(
    store: FsspecBlobStore, place: Place, monkeypatch: pytest.MonkeyPatch, method: str, error: Exception
) -> None:
    await keep(store)
    with monkeypatch.context() as patch, structlog.testing.capture_logs() as logs:
        patch.setattr(place.file_system, method, failing(error))
        with pytest.raises(Unavailable) as caught:
            await CALLS[method](store)
    assert caught.value.reason == "BLOB_STORE_UNAVAILABLE"
    assert caught.value.is_retryable
    assert "secret" not in caught.value.message + str(logs)
    assert logs[0]["error"] == type(error).__name__


@pytest.mark.parametrize("is_wrapped", [True, False])
async def test_keep_in_a_full_store_is_refused_and_works_again_with_room(
    store: FsspecBlobStore, place: Place, monkeypatch: pytest.MonkeyPatch, is_wrapped: bool
) -> None:
    error: Exception = ServiceError("XMinioStorageFull")
    if is_wrapped:  # as s3fs does
        cause, error = error, OSError(5, "secret text")
        error.__cause__ = cause
    staged = await store.stage("acme", pieces(DATA), limit_bytes=100)
    with monkeypatch.context() as patch:
        patch.setattr(place.file_system, "put_file", failing(error))
        with pytest.raises(ResourceExhausted) as caught:
            await staged.keep()
    assert caught.value.reason == "DISK_FULL"
    assert caught.value.is_retryable
    await staged.keep()
    assert await store.read("acme", DIGEST) == DATA


async def test_store_that_does_not_answer_is_given_up_in_time_while_the_loop_runs(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await place.open(timeout_s=0.2)
    release = threading.Event()
    monkeypatch.setattr(place.file_system, "cat_file", lambda *_: release.wait(30))
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.01)

    other = asyncio.create_task(turn())
    begin = time.monotonic()
    with pytest.raises(Unavailable):
        await store.read("acme", DIGEST)
    assert time.monotonic() - begin < 10
    assert turns > 1
    other.cancel()
    release.set()


async def test_stream_that_is_given_up_leaves_no_open_file(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await place.open(timeout_s=0.2)
    await keep(store)
    release, made = threading.Event(), []
    copy = store._copy

    def slow(address: str) -> Any:
        release.wait(30)
        made.append(copy(address))
        return made[0]

    monkeypatch.setattr(store, "_copy", slow)
    with pytest.raises(Unavailable):
        await anext(store.stream("acme", DIGEST))
    release.set()
    async with asyncio.timeout(30):
        while not made or not made[0].closed:  # noqa: ASYNC110 - nobody tells when a file is closed
            await asyncio.sleep(0.01)


async def test_delete_that_is_cancelled_ends_before_its_caller_goes_on(
    store: FsspecBlobStore, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keep(store)
    deleting, release = threading.Event(), threading.Event()
    rm_file = place.file_system.rm_file

    def slow(address: str) -> None:
        deleting.set()
        release.wait(30)
        rm_file(address)

    monkeypatch.setattr(place.file_system, "rm_file", slow)
    task = asyncio.create_task(store.delete("acme", DIGEST))
    await asyncio.to_thread(deleting.wait, 30)
    task.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert place.files() == []


async def test_keep_uploads_what_is_there_already_no_second_time(
    store: FsspecBlobStore, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keep(store)
    monkeypatch.setattr(place.file_system, "put_file", failing(AssertionError("uploaded")))
    await keep(store)
    assert len(place.files()) == 1


def test_s3_without_s3fs_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(_registry, "s3", raising=False)
    with pytest.raises(Unavailable, match="extra `s3`"):
        s3_file_system()
