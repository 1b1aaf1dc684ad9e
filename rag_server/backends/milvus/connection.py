"""Opening and closing Milvus: the embedded engine of a local folder, or a server.

All calls but one are made by the asynchronous client: cancelling them cancels them on the wire.
Creating an index is left to the synchronous client, in a thread, because the asynchronous one then
asks the server for a timestamp, which Milvus Lite does not give.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog
from pymilvus import AsyncMilvusClient, MilvusClient
from pymilvus.exceptions import MilvusException
from pymilvus.milvus_client.index import IndexParams

from rag_server.errors import Unavailable
from rag_server.logs import where_raised

_log = structlog.get_logger(__name__)

ENGINE_ERRORS = (MilvusException, grpc.RpcError)
"""What pymilvus raises; it wraps everything else into the first."""
_ENGINE_THREADS = 8
_SYNCHRONOUS_THREADS = 2
RETRIES = 2
"""Of a call that finds the server unreachable; pymilvus would try 75 times."""
_STOP_GRACE_S = 2.0
_CHANNEL = {"grpc.keepalive_time_ms": 600_000, "grpc.keepalive_permit_without_calls": 0}
"""pymilvus pings every 10 s, upon which Milvus Lite, as any gRPC server in Python, drops the connection."""


def unavailable(action: str, error: BaseException) -> Unavailable:
    """Log what Milvus said, and return the error that tells the caller nothing of it."""
    _log.warning(
        "vector store failed", action=action, code=getattr(error, "code", None), where=where_raised(error)
    )
    return Unavailable("VECTOR_STORE_UNAVAILABLE", "the vector store does not answer")


@dataclass(frozen=True, slots=True)
class _Engine:
    """Milvus Lite running in this process behind a port of the loopback interface."""

    server: Any
    database: Any
    uri: str

    @classmethod
    def start(cls, folder: Path) -> _Engine:
        from milvus_lite.adapter.grpc.server import start_server_in_thread
        from milvus_lite.exceptions import DataDirLockedError, MilvusLiteError

        from rag_server.backends.milvus.lite import open_once

        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            server, database, port = start_server_in_thread(str(folder), max_workers=_ENGINE_THREADS)
        except DataDirLockedError as error:
            _log.warning("vector store locked")
            raise Unavailable(
                "VECTOR_STORE_LOCKED",
                "the vector store's folder is in use by another process; "
                "stop that process or run a Milvus server that both can reach",
            ) from error
        except (OSError, MilvusLiteError) as error:
            raise unavailable("start", error) from error
        open_once(database)  # nothing calls it yet
        return cls(server, database, f"http://127.0.0.1:{port}")

    def stop(self) -> None:
        """Wait for the running calls, then release the folder."""
        self.server.stop(grace=_STOP_GRACE_S).wait()
        self.database.close()


@dataclass(frozen=True, slots=True)
class Connection:
    """The clients of one Milvus, and what must be stopped with them."""

    client: AsyncMilvusClient
    _indexer: MilvusClient
    _threads: ThreadPoolExecutor
    _engine: _Engine | None
    _timeout_s: float

    @classmethod
    async def open(cls, uri: str, *, token: str, timeout_s: float) -> Connection:
        """Connect to a server, or start the engine for a local folder whose name ends in `.db`.

        Raises `Unavailable`: `VECTOR_STORE_LOCKED` when the folder is open elsewhere.
        """
        # They print every error with its traceback, texts of callers included; ours is the only log.
        for name in ("pymilvus", "milvus_lite"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        threads = ThreadPoolExecutor(_SYNCHRONOUS_THREADS, thread_name_prefix="milvus")
        loop = asyncio.get_running_loop()
        engine: _Engine | None = None
        try:
            if uri.endswith(".db"):
                engine = await loop.run_in_executor(threads, _Engine.start, Path(uri))
            endpoint = engine.uri if engine else uri
            options: dict[str, Any] = {
                "token": token,
                "timeout": timeout_s,
                "dedicated": True,
                "grpc_options": _CHANNEL,
            }
            indexer = await loop.run_in_executor(threads, lambda: MilvusClient(endpoint, **options))
            client = AsyncMilvusClient(endpoint, **options)
            # It connects with its first call, and would do so twice for two at once.
            await client.get_server_version(retry_times=RETRIES)
        except BaseException as error:
            if engine:
                await loop.run_in_executor(threads, engine.stop)
            threads.shutdown(wait=False)
            if isinstance(error, ENGINE_ERRORS):
                raise unavailable("connect", error) from error
            raise
        return cls(client, indexer, threads, engine, timeout_s)

    @property
    def database(self) -> Any:
        """The `MilvusLite` that runs in this process; None: a server answers."""
        return self._engine.database if self._engine else None

    async def create_index(self, name: str, params: IndexParams) -> None:
        """Create the index of an empty collection; returns before it is built, which loading waits for."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._timeout_s):
            await loop.run_in_executor(
                self._threads,
                lambda: self._indexer.create_index(name, params, timeout=self._timeout_s, sync=False),
            )

    async def close(self) -> None:
        """Close both clients and release the folder, so that it can be opened again."""
        loop = asyncio.get_running_loop()
        try:
            await self.client.close()
            await loop.run_in_executor(self._threads, self._indexer.close)
        finally:
            if self._engine:
                await loop.run_in_executor(self._threads, self._engine.stop)
            self._threads.shutdown(wait=False)
