"""A parser process whose documents are orders to misbehave: `python -m` this, as the pool does."""

from __future__ import annotations

import mmap
import os
import resource
import signal
import socket
import struct
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from ingest_worker.parse.page_progress import report_pages
from ingest_worker.sandbox.child import serve
from rag_server.domain.document import MediaType, ParsedDocument
from rag_server.errors import FieldViolation, InvalidArgument, Unavailable

MEBIBYTE = 1024 * 1024


def say(text: str) -> ParsedDocument:
    return ParsedDocument(text, ())


def spin() -> None:
    while True:
        pass


def hoard() -> None:
    kept = []
    while True:
        kept.append(bytearray(8 * MEBIBYTE))


def abort_full() -> None:
    """End as PDFium does that is refused memory."""
    kept = b"x" * (200 * MEBIBYTE)
    time.sleep(0.5)
    assert kept
    os.abort()


def hoard_shared() -> None:
    """Fill memory that the kernel does not count as data of the process."""
    kept = []
    while True:
        kept.append(mmap.mmap(-1, 16 * MEBIBYTE))
        kept[-1].write(b"x" * (16 * MEBIBYTE))
        time.sleep(0.01)


def write_raw(payload: bytes) -> None:
    """Write to every pipe that this process has."""
    for descriptor in range(3, 64):
        with suppress(OSError):
            os.write(descriptor, payload)


def flood() -> None:
    while True:
        write_raw(struct.pack(">BIII", 4, 8, 1, 2))


def pages(count: int) -> ParsedDocument:
    for number in range(1, count + 1):
        report_pages(number, count)
        time.sleep(0.05)
    return say("read")


def powers() -> ParsedDocument:
    """Say what this process can do."""
    found = {"environment": sorted(os.environ), "core": "", "arguments": str(len(sys.argv))}
    try:
        with Path("/tmp/parser-was-here").open("wb") as file:
            file.write(b"x")
            file.flush()
        found["write"] = "written"
    except OSError:
        found["write"] = "refused"
    with suppress(OSError):
        Path("/tmp/parser-was-here").unlink()
    for name, attempt in {
        "fork": os.fork,
        "execute": lambda: os.execv("/bin/true", ["true"]),  # noqa: S606 - refused
        "socket": socket.socket,
        "signal": lambda: os.kill(os.getppid(), 0),
        "prlimit": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CORE, (0, 0)),
    }.items():
        try:
            found[name] = "refused" if attempt() == -1 else "done"
        except OSError:
            found[name] = "refused"
        if found[name] == "done" and name == "fork":
            os._exit(0)
    thread = threading.Thread(target=found.setdefault, args=("thread", "done"))
    thread.start()
    thread.join()
    sockets = 0
    for descriptor in range(64):
        with suppress(OSError):
            socket.socket(fileno=os.dup(descriptor)).close()
            sockets += 1
    found["sockets"] = str(sockets)
    try:
        for _ in range(100):
            os.dup(0)
        found["descriptors"] = "many"
    except OSError:
        found["descriptors"] = "few"
    return say(repr(found))


def die_once(mark: str) -> ParsedDocument:
    if not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    return say("survived")


def refuse() -> None:
    raise InvalidArgument(
        "ROW_INVALID",
        "row 3 is wrong",
        metadata={"row": "3"},
        violations=[FieldViolation("rows[3]", "wrong")],
    )


def unavailable() -> None:
    raise Unavailable("VECTOR_STORE_UNAVAILABLE", "a parser has no say in this")


def fail() -> None:
    raise ValueError("hunter2 is a secret")


def grow(mebibytes: int) -> ParsedDocument:
    filled = b"x" * (mebibytes * MEBIBYTE)
    assert filled
    return say(str(os.getpid()))


def obey(data: bytes, declared: str, file_name: str) -> tuple[MediaType, ParsedDocument]:
    order, _, rest = data.decode().partition(" ")
    orders = {
        "echo": lambda: say(rest),
        "pid": lambda: say(str(os.getpid())),
        "sleep": lambda: time.sleep(float(rest)),
        "spin": spin,
        "hoard": hoard,
        "abort-full": abort_full,
        "hoard-shared": hoard_shared,
        "exit": lambda: os._exit(int(rest)),
        "signal": lambda: os.kill(os.getpid(), int(rest)),
        "die-once": lambda: die_once(rest),
        "refuse": refuse,
        "unavailable": unavailable,
        "fail": fail,
        "print": lambda: (os.write(1, b"noise"), os.write(2, b"noise"), say("quiet"))[2],
        "junk": lambda: write_raw(b"\xff" * 100),
        "announce-too-much": lambda: (write_raw(struct.pack(">BI", 5, (1 << 32) - 1)), time.sleep(60)),
        "nonsense": lambda: (write_raw(struct.pack(">BI", 5, 40) + b"\x00" * 40), time.sleep(60)),
        "unasked-records": lambda: (write_raw(struct.pack(">BI", 7, 0)), time.sleep(60)),
        "flood": flood,
        "long": lambda: say("x" * int(rest)),
        "pages": lambda: pages(int(rest)),
        "powers": powers,
        "grow": lambda: grow(int(rest)),
    }
    return MediaType.TEXT, orders[order]()


if __name__ == "__main__":
    serve(obey)
