"""Uploaded bytes in a local folder: `<root>/<tenant>/<first two digits>/<sha256>`."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import structlog

from rag_server.errors import NotFound, ResourceExhausted, Unavailable

log = structlog.get_logger()

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_STAGING = ".staging"
PIECE_BYTES = 256 * 1024
"""Of a stream that is read."""


class LocalStagedBlob:
    """A temporary file on the same file system, so that keeping it is one rename."""

    def __init__(self, path: Path, target: Path, sha256: str, size_bytes: int) -> None:
        self._path = path
        self._target = target
        self._sha256 = sha256
        self._size_bytes = size_bytes

    @property
    def path(self) -> Path:
        """Where the bytes are until they are kept or discarded."""
        return self._path

    @property
    def sha256(self) -> str:
        """Digest of the bytes, in hexadecimal digits."""
        return self._sha256

    @property
    def size_bytes(self) -> int:
        """Number of the bytes."""
        return self._size_bytes

    async def keep(self) -> None:
        """Rename the file to its address and make that durable."""
        with _translated():
            await asyncio.to_thread(self._keep)

    def _keep(self) -> None:
        if not self._path.exists():
            return
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._path.replace(self._target)
        folder = os.open(self._target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    async def discard(self) -> None:
        """Remove the temporary file, if it is still one."""
        with _translated():
            await asyncio.to_thread(self._path.unlink, missing_ok=True)


class LocalBlobStore:
    """A `BlobStore` on the local file system."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._staging = root / _STAGING

    async def open(self, *, clear_staging: bool = True) -> None:
        """Make the folder, and clear what an interrupted upload left behind, unless others may upload now."""
        with _translated():
            if clear_staging:
                await asyncio.to_thread(shutil.rmtree, self._staging, ignore_errors=True)
            await asyncio.to_thread(self._staging.mkdir, parents=True, exist_ok=True)

    async def stage(self, tenant_id: str, data: AsyncIterator[bytes], *, limit_bytes: int) -> LocalStagedBlob:
        """Write the stream to a temporary file, in threads, one piece at a time: memory stays constant."""
        path = self._staging / uuid.uuid4().hex
        digest = hashlib.sha256()
        size = 0
        is_complete = False
        try:
            with _translated():
                file = await to_its_end(path.open, "xb")
                try:
                    async for piece in data:
                        size += len(piece)
                        if size > limit_bytes:
                            raise ResourceExhausted(
                                "DOCUMENT_TOO_LARGE",
                                f"the document is larger than {limit_bytes} bytes",
                                metadata={"limit_bytes": str(limit_bytes)},
                            )
                        await to_its_end(_append, file.fileno(), digest, piece)
                    await to_its_end(os.fsync, file.fileno())
                    is_complete = True
                finally:
                    file.close()
        finally:
            if not is_complete:
                path.unlink(missing_ok=True)
        sha256 = digest.hexdigest()
        return LocalStagedBlob(path, self._address(tenant_id, sha256), sha256, size)

    async def read(self, tenant_id: str, sha256: str) -> bytes:
        """Return the bytes, which are those of the digest. Raises `NotFound`."""
        with _translated():
            try:
                data, is_intact = await asyncio.to_thread(_read, self._address(tenant_id, sha256))
            except FileNotFoundError:
                raise NotFound.for_resource("blob", sha256) from None
        if not is_intact:
            log.error("stored bytes do not match their digest", sha256=sha256, size_bytes=len(data))
            raise blob_store_unavailable()
        return data

    async def stream(self, tenant_id: str, sha256: str) -> AsyncGenerator[bytes, None]:
        """Yield the bytes in pieces; the open file outlives its deletion. Raises `NotFound`."""
        with _translated():
            try:
                file = await to_its_end(self._address(tenant_id, sha256).open, "rb")
            except FileNotFoundError:
                raise NotFound.for_resource("blob", sha256) from None
            try:
                while piece := await to_its_end(file.read, PIECE_BYTES):
                    yield piece
            finally:
                file.close()

    async def size(self, tenant_id: str, sha256: str) -> int | None:
        """Return the size of the file; None: there is none."""
        with _translated():
            try:
                return (await asyncio.to_thread(self._address(tenant_id, sha256).stat)).st_size
            except FileNotFoundError:
                return None

    async def delete(self, tenant_id: str, sha256: str) -> None:
        """Remove the bytes. Idempotent."""
        with _translated():
            await asyncio.to_thread(self._address(tenant_id, sha256).unlink, missing_ok=True)

    async def list_all(self) -> AsyncIterator[tuple[str, str]]:
        """Yield `(tenant_id, sha256)` of all bytes, reading one folder at a time."""
        with _translated():
            for tenant in await asyncio.to_thread(_entries, self._root):
                if tenant.name == _STAGING:
                    continue
                for folder in await asyncio.to_thread(_entries, tenant):
                    for path in await asyncio.to_thread(_entries, folder):
                        yield tenant.name, path.name

    def _address(self, tenant_id: str, sha256: str) -> Path:
        return self._root / tenant_id / sha256[:2] / sha256


def matches(data: bytes, sha256: str) -> bool:
    """Whether `data` is what was stored under that digest."""
    return hashlib.sha256(data).hexdigest() == sha256


def _read(path: Path) -> tuple[bytes, bool]:
    data = path.read_bytes()
    return data, matches(data, path.name)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


@contextmanager
def _translated() -> Iterator[None]:
    """Raise what a failing disk means to a caller: `DISK_FULL` or `BLOB_STORE_UNAVAILABLE`."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise ResourceExhausted(
                "DISK_FULL", "the server has no room for the document", retry_after_s=60.0
            ) from error
        log.error("blob store failed", error=error.strerror)
        raise blob_store_unavailable() from error


def blob_store_unavailable() -> Unavailable:
    """Return the error for a store that does not answer, or not with what was put there."""
    return Unavailable("BLOB_STORE_UNAVAILABLE", "the store of uploaded bytes does not answer; try again")


async def to_its_end(work: Callable[[*Ts], T], *args: *Ts) -> T:
    """Run `work` in a thread; a caller that is cancelled meanwhile still waits for its end.

    A thread cannot be stopped. Were the file closed under it, its number could be another file's by the time
    the thread writes.
    """
    thread = asyncio.ensure_future(asyncio.to_thread(work, *args))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        await asyncio.wait([thread])
        raise


def _append(descriptor: int, digest: hashlib._Hash, piece: bytes) -> None:
    digest.update(piece)
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]
