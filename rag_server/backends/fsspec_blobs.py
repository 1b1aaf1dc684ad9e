"""Uploaded bytes in an object store, through fsspec: `<root>/<tenant>/<first two digits>/<sha256>`.

An upload is spooled to a local folder first, because its address, the digest, is known only at its end. So
nothing half-uploaded is ever in the store, and servers that share one cannot clear away each other's uploads.
Made for stores whose writes appear whole or not at all and last once answered, as those of S3.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar, TypeVarTuple

import structlog
from fsspec import AbstractFileSystem

from rag_server.backends.local_blobs import (
    PIECE_BYTES,
    LocalBlobStore,
    LocalStagedBlob,
    blob_store_unavailable,
    matches,
    to_its_end,
)
from rag_server.concurrency import finish
from rag_server.errors import NotFound, RagError, ResourceExhausted

log = structlog.get_logger()

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_THREADS = 16
_FULL_CODES = frozenset({"XMinioStorageFull", "InsufficientStorage", "QuotaExceeded"})
"""What S3 services call it in their answers' `Code`."""


class SpooledBlob:
    """Bytes in a local file, to be uploaded when they are kept."""

    def __init__(self, spooled: LocalStagedBlob, upload: Callable[[Path, int], Any]) -> None:
        self._spooled = spooled
        self._upload = upload

    @property
    def sha256(self) -> str:
        """Digest of the bytes, in hexadecimal digits."""
        return self._spooled.sha256

    @property
    def size_bytes(self) -> int:
        """Number of the bytes."""
        return self._spooled.size_bytes

    async def keep(self) -> None:
        """Upload the file, unless that is done, and remove it."""
        if await asyncio.to_thread(self._spooled.path.exists):
            await self._upload(self._spooled.path, self.size_bytes)
            await self._spooled.discard()

    async def discard(self) -> None:
        """Remove the file."""
        await self._spooled.discard()


class FsspecBlobStore:
    """A `BlobStore` in any of fsspec's file systems.

    fsspec's calls block, so they are made in threads of the store's own. A thread cannot be stopped: after
    `timeout_s` its caller is told that the store does not answer, and the file system's own time-outs end it.
    """

    def __init__(
        self, file_system: AbstractFileSystem, root: str, spool: Path, *, timeout_s: float = 60.0
    ) -> None:
        self._fs = file_system
        self._root = root.rstrip("/")
        self._folder = spool
        self._spool = LocalBlobStore(spool)
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="blobs")

    async def open(self) -> None:
        """Clear what this server's interrupted uploads left in the spool. Raises unless the store answers."""
        await self._spool.open()
        await self._call(self._names, self._root)

    async def stage(self, tenant_id: str, data: AsyncIterator[bytes], *, limit_bytes: int) -> SpooledBlob:
        """Write the stream to the spool."""
        spooled = await self._spool.stage(tenant_id, data, limit_bytes=limit_bytes)
        target = self._address(tenant_id, spooled.sha256)

        async def upload(path: Path, size_bytes: int) -> None:
            await self._call(self._put, path, target, size_bytes)

        return SpooledBlob(spooled, upload)

    async def read(self, tenant_id: str, sha256: str) -> bytes:
        """Return the bytes, which are those of the digest. Raises `NotFound`."""
        try:
            data, is_intact = await self._call(self._read, tenant_id, sha256)
        except FileNotFoundError:
            raise NotFound.for_resource("blob", sha256) from None
        if not is_intact:
            log.error("stored bytes do not match their digest", sha256=sha256, size_bytes=len(data))
            raise blob_store_unavailable()
        return data

    async def stream(self, tenant_id: str, sha256: str) -> AsyncGenerator[bytes, None]:
        """Yield the bytes in pieces, from a nameless local copy: no deletion can cut them short.

        Raises `NotFound`.
        """
        try:
            with _translated():
                file = await self._download(self._address(tenant_id, sha256))
        except FileNotFoundError:
            raise NotFound.for_resource("blob", sha256) from None
        try:
            while piece := await to_its_end(file.read, PIECE_BYTES):
                yield piece
        finally:
            file.close()

    async def size(self, tenant_id: str, sha256: str) -> int | None:
        """Return the size that the store tells; None: there is no such object."""
        try:
            return int((await self._call(self._fs.info, self._address(tenant_id, sha256)))["size"])
        except FileNotFoundError:
            return None

    async def delete(self, tenant_id: str, sha256: str) -> None:
        """Remove the bytes. Idempotent.

        The one call that is waited for to its end, whatever the caller does: one that took effect later could
        meet the same bytes of a new upload.
        """
        await finish(self._call(self._delete, self._address(tenant_id, sha256), is_patient=True))

    async def list_all(self) -> AsyncIterator[tuple[str, str]]:
        """Yield `(tenant_id, sha256)` of all bytes, reading one folder at a time."""
        for tenant in await self._call(self._names, self._root):
            for folder in await self._call(self._names, f"{self._root}/{tenant}"):
                for sha256 in await self._call(self._names, f"{self._root}/{tenant}/{folder}"):
                    yield tenant, sha256

    async def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _address(self, tenant_id: str, sha256: str) -> str:
        return f"{self._root}/{tenant_id}/{sha256[:2]}/{sha256}"

    def _put(self, path: Path, target: str, size_bytes: int) -> None:
        with suppress(FileNotFoundError):
            if self._fs.info(target)["size"] == size_bytes:
                return
        self._fs.put_file(str(path), target)

    def _read(self, tenant_id: str, sha256: str) -> tuple[bytes, bool]:
        data = bytes(self._fs.cat_file(self._address(tenant_id, sha256)))
        return data, matches(data, sha256)

    async def _download(self, address: str) -> IO[bytes]:
        copying = self._threads.submit(self._copy, address)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.wrap_future(copying)
        except BaseException:
            copying.add_done_callback(_close)  # the thread works on, for nobody
            raise

    def _copy(self, address: str) -> IO[bytes]:
        copy = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - the caller's
        try:
            with self._fs.open(address, "rb") as source:
                shutil.copyfileobj(source, copy, PIECE_BYTES)
            copy.seek(0)
        except BaseException:
            copy.close()
            raise
        return copy

    def _delete(self, address: str) -> None:
        with suppress(FileNotFoundError):
            self._fs.rm_file(address)

    def _names(self, folder: str) -> list[str]:
        try:
            found = self._fs.ls(folder, detail=False)
        except FileNotFoundError:
            return []
        # S3 lists the marker of an empty folder as a file of no name
        return sorted(name for each in found if (name := each.removeprefix(folder).strip("/").split("/")[-1]))

    async def _call(self, work: Callable[[*Ts], T], *args: *Ts, is_patient: bool = False) -> T:
        with _translated():
            async with asyncio.timeout(None if is_patient else self._timeout_s):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)


def _close(copying: Future[IO[bytes]]) -> None:
    if not copying.cancelled() and copying.exception() is None:
        copying.result().close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, RagError):
        raise
    except Exception as error:
        response = getattr(error.__cause__ or error, "response", None)
        code = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""
        if code in _FULL_CODES:
            raise ResourceExhausted(
                "DISK_FULL", "the server has no room for the document", retry_after_s=60.0
            ) from error
        log.error("blob store failed", error=type(error).__name__, code=code)
        raise blob_store_unavailable() from error
