"""One parser process, seen from the worker: started, given documents, watched, killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ingest_worker.parse.language import with_language
from ingest_worker.sandbox.codec import MalformedDocument, decode
from ingest_worker.sandbox.failures import (
    MAX_FAILURE_BYTES,
    ParserFailed,
    ParserOutOfMemory,
    decode_failure,
    out_of_memory,
    timed_out,
    too_much_output,
)
from ingest_worker.sandbox.frames import PAGES, BrokenFrame, FrameKind, receive_head, send_frame
from ingest_worker.sandbox.limits import ParserLimits
from ingest_worker.sandbox.memory import peak_bytes, resident_bytes
from ingest_worker.sandbox.protocol import PagesDone
from ingest_worker.sandbox.record_codec import decode_records
from rag_server.domain.document import MediaType, ParsedDocument
from rag_server.domain.records import RecordMapping

CHILD_MODULE = "ingest_worker.sandbox.child"
_ROOT = Path(__file__).parents[2]
_MAX_REPORTS_PER_S = 10
_MAX_PAGES = (1 << 31) - 1
_WATCH_INTERVAL_S = 0.05
_START_S = 60.0
_END_S = 2.0
_READER_BYTES = 1 << 20
_SIGNALS_OF_REFUSED_MEMORY = frozenset(
    -number for number in (signal.SIGABRT, signal.SIGSEGV, signal.SIGTRAP, signal.SIGILL, signal.SIGBUS)
)
"""How libraries in C and C++ end that are refused memory: so taken where a process had much of it."""
_LONGEST = {FrameKind.PAGES: PAGES.size, FrameKind.FAILURE: MAX_FAILURE_BYTES}


class ParserDied(Exception):
    """The process ended, or broke the rules, for no reason that is known: another attempt may help.

    `where` is what it said of itself, for the log.
    """

    def __init__(self, where: list[str]) -> None:
        super().__init__("a parser process died")
        self.where = where


class ParserProcess:
    """Reads one document at a time. Make one with `start`; end it with `kill` and `wait`."""

    def __init__(self, process: Process, limits: ParserLimits) -> None:
        self._process = process
        self._limits = limits
        self._is_over_memory = False
        self._peak_bytes = 0
        self.documents_left = limits.documents_per_process

    @classmethod
    async def start(cls, limits: ParserLimits, module: str = CHILD_MODULE) -> ParserProcess:
        """Start a process that runs `module` and wait until it is confined.

        It gets no descriptor and no variable of this process but those named here, and a session of its
        own: a terminal's Ctrl-C is for this process to act on. Raises `OSError` and `ParserDied`.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", module, limits.to_json(), str(os.getpid())),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            cwd="/",
            env=_environment(),
            start_new_session=True,
            limit=_READER_BYTES,
        )
        child = cls(process, limits)
        try:
            async with asyncio.timeout(_START_S):
                if await receive_head(child._reader) == (FrameKind.READY, 0):
                    return child
        except (asyncio.IncompleteReadError, BrokenFrame, TimeoutError):
            pass
        except BaseException:
            await child.end()
            raise
        await child.end()
        raise ParserDied(["it did not start"])

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def is_usable(self) -> bool:
        """Whether it lives and may read another document."""
        return self._process.returncode is None and self.documents_left > 0

    async def parse(
        self,
        data: bytes,
        declared: str,
        file_name: str,
        on_pages: PagesDone | None,
        mapping: RecordMapping | None = None,
        *,
        page_boxes: bool = False,
    ) -> tuple[MediaType, ParsedDocument]:
        """Have a document read. Unless the parser itself answers, the process is killed at once.

        Raises what the parser refuses the document with, `ResourceExhausted` for a limit that it met,
        `ParserFailed` for an exception in it, and `ParserDied`.
        """
        limits = self._limits.for_document(data)
        request: dict[str, object] = {"declared": declared, "file_name": file_name}
        if mapping is not None:
            request["records"] = mapping.to_json()
        elif page_boxes:
            request["page_boxes"] = True
        watch = asyncio.create_task(self._watch_memory())
        answer: tuple[MediaType, ParsedDocument] | Exception = ParserFailed([])
        try:
            async with asyncio.timeout(limits.wall_s):
                answer = await self._exchange(data, request, on_pages, mapping)
        except TimeoutError:
            raise timed_out(limits.wall_s) from None
        except (OSError, asyncio.IncompleteReadError):
            raise await self._cause_of_death(limits.cpu_s) from None
        except (BrokenFrame, MalformedDocument) as error:
            raise ParserDied([type(error).__name__, str(error)]) from error
        finally:
            watch.cancel()
            if isinstance(answer, ParserFailed | ParserOutOfMemory):
                self.kill()
            elif peak_bytes(self.pid) > self._limits.grown_bytes:
                self.documents_left = 0
        if isinstance(answer, ParserOutOfMemory):
            raise out_of_memory(self._limits.memory_bytes)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self) -> None:
        """Kill the process, and whatever it may have started, now."""
        self.documents_left = 0
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Kill the process, wait for its end and close its pipes."""
        self.kill()
        await self._process.wait()
        self._writer.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                while await self._reader.read(_READER_BYTES):  # what it wrote before, up to the pipe's end
                    pass
                with suppress(OSError):
                    await self._writer.wait_closed()

    @property
    def _writer(self) -> asyncio.StreamWriter:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _reader(self) -> asyncio.StreamReader:
        assert self._process.stdout is not None
        return self._process.stdout

    async def _exchange(
        self,
        data: bytes,
        request: Mapping[str, object],
        on_pages: PagesDone | None,
        mapping: RecordMapping | None,
    ) -> tuple[MediaType, ParsedDocument] | Exception:
        records: bytes | None = None
        await send_frame(self._writer, FrameKind.REQUEST, json.dumps(request).encode())
        await send_frame(self._writer, FrameKind.CONTENT, data)
        loop = asyncio.get_running_loop()
        start, reports = loop.time(), 0
        while True:
            kind, length = await receive_head(self._reader)
            is_content = kind is FrameKind.RESULT or (
                kind is FrameKind.RECORDS and mapping is not None and records is None
            )
            if is_content and length > self._limits.output_bytes:
                self.kill()
                return too_much_output(self._limits.output_bytes)
            is_unasked = kind is FrameKind.RECORDS and not is_content
            if is_unasked or (length > _LONGEST.get(kind, 0) and not is_content):
                raise BrokenFrame(f"a frame of kind {kind.name} and {length} bytes")
            payload = await self._reader.readexactly(length)
            if kind is FrameKind.RESULT:
                return await asyncio.to_thread(_decode, payload, mapping, records)
            if kind is FrameKind.RECORDS:
                records = payload
                continue
            if kind is FrameKind.FAILURE:
                return decode_failure(payload)
            reports += 1
            if length != PAGES.size or reports > _MAX_REPORTS_PER_S * (loop.time() - start + 1):
                raise BrokenFrame("reports of pages that are malformed or too many")
            if on_pages is not None:
                done, total = PAGES.unpack(payload)
                on_pages(min(done, _MAX_PAGES), min(total, _MAX_PAGES))

    async def _watch_memory(self) -> None:
        """Be the second line behind the kernel's own limit, which does not count every page."""
        while (used := resident_bytes(self.pid)) <= self._limits.memory_bytes:
            self._peak_bytes = max(self._peak_bytes, used)
            await asyncio.sleep(_WATCH_INTERVAL_S)
        self._is_over_memory = True
        self.kill()

    async def _cause_of_death(self, cpu_s: float) -> Exception:
        """Return the error for a process that closed its pipes in the middle of a document."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await self._process.wait()
        has_much = self._peak_bytes > self._limits.memory_bytes // 2
        if self._is_over_memory or (has_much and self._process.returncode in _SIGNALS_OF_REFUSED_MEMORY):
            return out_of_memory(self._limits.memory_bytes)
        if self._process.returncode == -signal.SIGXCPU:
            return timed_out(cpu_s)
        return ParserDied([f"it ended with {self._process.returncode}"])


def _decode(
    payload: bytes, mapping: RecordMapping | None, records: bytes | None
) -> tuple[MediaType, ParsedDocument]:
    media_type, parsed = decode(payload)
    if mapping is not None:
        if records is None:
            raise MalformedDocument("records")
        parsed = replace(parsed, records=decode_records(records, mapping, len(parsed.text)))
    return media_type, with_language(parsed)


def _environment() -> dict[str, str]:
    """Return all that a child needs to find its interpreter's libraries and this package."""
    paths = [str(_ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    known = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
    return {**known, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
