"""A few parser processes that read documents for the whole worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self

import structlog

from ingest_worker.sandbox.failures import ParserFailed, crashed
from ingest_worker.sandbox.limits import ParserLimits
from ingest_worker.sandbox.process import CHILD_MODULE, ParserDied, ParserProcess
from ingest_worker.sandbox.protocol import PagesDone
from rag_server.domain.document import MediaType, ParsedDocument
from rag_server.domain.records import RecordMapping
from rag_server.errors import ResourceExhausted, Unavailable

log = structlog.get_logger()

_MAX_WAITING = 1024
_BUSY_RETRY_S = 5.0
_ATTEMPTS = 2
"""At a document on which a process dies: the first may have died of something else."""


class ParserPool:
    """A `DocumentParser` whose work can be killed: hostile content ends a process, never the worker.

    The first document starts the first process. From then on one more than is needed is kept ready, up to
    `processes`, and a replacement is started ahead for one that has read its last document. Callers
    are served in the order in which they come.
    """

    def __init__(
        self,
        limits: ParserLimits,
        *,
        processes: int = 2,
        max_waiting: int = _MAX_WAITING,
        module: str = CHILD_MODULE,
    ) -> None:
        self._limits = limits
        self._processes = processes
        self._max_waiting = max_waiting
        self._module = module
        self._slots = asyncio.Semaphore(processes)
        self._waiting = 0
        self._idle: list[ParserProcess] = []
        self._busy: set[ParserProcess] = set()
        self._spare: asyncio.Task[ParserProcess] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    @property
    def pids(self) -> frozenset[int]:
        """The processes that are ready or at work."""
        return frozenset(process.pid for process in (*self._idle, *self._busy))

    async def parse(
        self,
        data: bytes,
        declared: str = "",
        file_name: str = "",
        *,
        on_pages: PagesDone | None = None,
        records: RecordMapping | None = None,
        page_boxes: bool = False,
    ) -> tuple[MediaType, ParsedDocument]:
        """See `DocumentParser.parse`. The limits on time begin when a process has the document."""
        async with self._slot():
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    async with self._process() as process:
                        return await process.parse(
                            data, declared, file_name, on_pages, records, page_boxes=page_boxes
                        )
                except ParserDied as death:
                    if self._is_closed:
                        raise _closed() from None
                    log.warning("parser process died", where=death.where, attempt=attempt)
                except ParserFailed as failure:
                    log.error("parser failed", where=failure.where)
                    break
        raise crashed()

    async def close(self) -> None:
        """Kill all processes; whoever waits for one gets `Unavailable`."""
        self._is_closed = True
        if self._spare is not None:
            self._spare.cancel()
            await asyncio.gather(self._spare, return_exceptions=True)
            self._spare = None
        for process in (*self._idle, *self._busy):
            self._retire(process)
        self._idle.clear()
        while self._ending or self._busy:  # those at work are given back once their callers know
            await asyncio.wait([*self._ending, asyncio.create_task(asyncio.sleep(0.01))])

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if self._waiting >= self._max_waiting:
            raise ResourceExhausted(
                "PARSERS_BUSY",
                f"{self._waiting} documents wait to be read already",
                metadata={"limit": str(self._max_waiting)},
                retry_after_s=_BUSY_RETRY_S,
            )
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()

    @asynccontextmanager
    async def _process(self) -> AsyncIterator[ParserProcess]:
        """Lend a process; see to it that there is another one for the next document."""
        process = await self._take()
        process.documents_left -= 1
        self._busy.add(process)
        self._start_spare()
        try:
            yield process
        finally:
            self._busy.discard(process)
            if process.is_usable and not self._is_closed:
                self._idle.append(process)
            else:
                self._retire(process)
                self._start_spare()

    async def _take(self) -> ParserProcess:
        while self._idle:
            process = self._idle.pop()
            if process.is_usable:
                return process
            self._retire(process)
        if self._is_closed:
            raise _closed()
        spare, self._spare = self._spare, None
        try:
            if spare is not None:
                with suppress(OSError, ParserDied):  # whatever was in its way then may be gone now
                    return await spare
            return await self._start()
        except (OSError, ParserDied) as error:
            where = error.where if isinstance(error, ParserDied) else [type(error).__name__]
            log.error("parser process does not start", where=where)
            raise Unavailable(
                "PARSERS_UNAVAILABLE",
                "no process can be started to read the document",
                retry_after_s=_BUSY_RETRY_S,
            ) from error

    async def _start(self) -> ParserProcess:
        return await ParserProcess.start(self._limits, self._module)

    def _start_spare(self) -> None:
        lasting = [process for process in self._busy if process.documents_left > 0]
        if self._is_closed or self._idle or self._spare or len(lasting) >= self._processes:
            return
        self._spare = asyncio.create_task(self._start())

    def _retire(self, process: ParserProcess) -> None:
        process.kill()
        ending = asyncio.create_task(process.end())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


def _closed() -> Unavailable:
    return Unavailable("SERVER_STOPPING", "the server is about to stop")
