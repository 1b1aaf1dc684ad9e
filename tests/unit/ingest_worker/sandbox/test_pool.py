"""The pool over real processes: good ones by the suite, and ones that misbehave to order."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from ingest_worker.sandbox.limits import ParserLimits
from ingest_worker.sandbox.pool import ParserPool
from rag_server.errors import Internal, InvalidArgument, RagError, ResourceExhausted, Unavailable
from rag_server.testing.document_parser_suite import DocumentParserSuite
from tests.documents import pdf, pdf_encrypted

MEBIBYTE = 1024 * 1024
MISBEHAVING = "tests.unit.ingest_worker.sandbox.misbehaving"
PATIENT = {"wall_s": 60.0, "cpu_s": 60.0, "memory_bytes": 512 * MEBIBYTE}
ROOT = Path(__file__).parents[4]

MakePool = Callable[..., ParserPool]


@pytest.fixture
async def make_pool() -> AsyncIterator[MakePool]:
    """Return a function that makes a pool of misbehaving processes; limits given override."""
    async with AsyncExitStack() as stack:

        def make(*, processes: int = 1, max_waiting: int = 100, **limits: Any) -> ParserPool:
            pool = ParserPool(
                ParserLimits(**{**PATIENT, **limits}),
                processes=processes,
                max_waiting=max_waiting,
                module=MISBEHAVING,
            )
            stack.push_async_callback(pool.close)
            return pool

        yield make


async def text_of(pool: ParserPool, order: str) -> str:
    _, parsed = await pool.parse(order.encode())
    return parsed.text


async def failure_of(pool: ParserPool, order: str) -> RagError:
    with pytest.raises(RagError) as caught:
        await pool.parse(order.encode())
    return caught.value


async def until(condition: Callable[[], bool], *, timeout_s: float = 30.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the end of another process
            await asyncio.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


class TestParserPool(DocumentParserSuite):
    @pytest.fixture
    async def parser(self) -> AsyncIterator[ParserPool]:
        async with ParserPool(ParserLimits(**PATIENT), processes=2) as pool:
            yield pool


async def test_pool_reads_a_pdf_and_reports_its_pages() -> None:
    seen: list[tuple[int, int]] = []
    async with ParserPool(ParserLimits(**PATIENT), processes=1) as pool:
        media_type, parsed = await pool.parse(pdf(), on_pages=lambda done, total: seen.append((done, total)))
        with pytest.raises(InvalidArgument, match="password"):
            await pool.parse(pdf_encrypted())
    assert (media_type, parsed.page_count) == ("application/pdf", 2)
    assert seen[0] == (1, 2)


async def test_pool_starts_no_process_before_the_first_document(make_pool: MakePool) -> None:
    pool = make_pool(processes=2)
    assert pool.pids == frozenset()
    await text_of(pool, "echo x")
    assert pool.pids


async def test_pool_uses_a_process_again(make_pool: MakePool) -> None:
    pool = make_pool()
    assert len({await text_of(pool, "pid") for _ in range(4)}) == 1


async def test_pool_replaces_a_process_after_its_documents(make_pool: MakePool) -> None:
    pool = make_pool(documents_per_process=2)
    pids = [int(await text_of(pool, "pid")) for _ in range(5)]
    assert [pids.index(pid) for pid in pids] == [0, 0, 2, 2, 4]
    await until(lambda: is_gone(pids[0]) and is_gone(pids[2]))


async def test_pool_replaces_a_process_that_has_grown(make_pool: MakePool) -> None:
    pool = make_pool(memory_bytes=512 * MEBIBYTE)
    grown = await text_of(pool, "grow 200")
    assert await text_of(pool, "pid") != grown


async def test_pool_replaces_a_process_that_died_while_idle(make_pool: MakePool) -> None:
    pool = make_pool()
    pid = int(await text_of(pool, "pid"))
    os.kill(pid, signal.SIGKILL)
    assert int(await text_of(pool, "pid")) != pid


TOO_LONG = {"sleep 60": {"wall_s": 0.5}, "spin": {"cpu_s": 1.0}}


@pytest.mark.parametrize("order", TOO_LONG)
async def test_pool_document_that_takes_too_long_is_given_up(make_pool: MakePool, order: str) -> None:
    pool = make_pool(**TOO_LONG[order])
    failure = await failure_of(pool, order)
    assert isinstance(failure, ResourceExhausted)
    assert (failure.reason, failure.is_retryable) == ("DOCUMENT_PARSER_TIMEOUT", False)
    assert failure.metadata == {"limit_s": f"{next(iter(TOO_LONG[order].values())):g}"}
    assert await text_of(pool, "echo alive") == "alive"


@pytest.mark.parametrize(("order", "limit_s"), [("spin %PDF-", "1.5"), ("spin", "0.5")])
@pytest.mark.parametrize("limited", ["wall_s", "cpu_s"])
async def test_pool_gives_pdfs_the_time_for_their_scanned_pages_and_no_more(
    make_pool: MakePool, order: str, limit_s: str, limited: str
) -> None:
    start = time.monotonic()
    failure = await failure_of(make_pool(**{limited: 0.5, "ocr_s": 1.0}), order)
    assert failure.reason == "DOCUMENT_PARSER_TIMEOUT"
    assert failure.metadata == {"limit_s": limit_s}
    assert time.monotonic() - start >= float(limit_s)


@pytest.mark.parametrize("order", ["hoard", "hoard-shared", "abort-full"])
async def test_pool_document_that_takes_too_much_memory_is_given_up(make_pool: MakePool, order: str) -> None:
    pool = make_pool(memory_bytes=256 * MEBIBYTE)
    failure = await failure_of(pool, order)
    assert isinstance(failure, ResourceExhausted)
    assert (failure.reason, failure.is_retryable) == ("DOCUMENT_PARSER_OUT_OF_MEMORY", False)
    assert failure.metadata == {"limit_bytes": str(256 * MEBIBYTE)}
    assert await text_of(pool, "echo alive") == "alive"


@pytest.mark.parametrize("order", ["long 200000", "announce-too-much"])
async def test_pool_document_that_becomes_too_large_is_given_up(make_pool: MakePool, order: str) -> None:
    pool = make_pool(output_bytes=100_000)
    failure = await failure_of(pool, order)
    assert isinstance(failure, ResourceExhausted)
    assert (failure.reason, failure.is_retryable) == ("DOCUMENT_TOO_LARGE", False)
    assert failure.metadata == {"limit_bytes": "100000"}
    assert await text_of(pool, "echo alive") == "alive"


@pytest.mark.parametrize(
    "order",
    ["exit 3", f"signal {signal.SIGSEGV}", "junk", "nonsense", "unasked-records", "flood", "unavailable"],
)
async def test_pool_document_that_breaks_every_process_has_a_reason(make_pool: MakePool, order: str) -> None:
    pool = make_pool()
    with capture_logs() as logs:
        failure = await failure_of(pool, order)
    assert isinstance(failure, Internal)
    assert (failure.reason, failure.is_retryable) == ("DOCUMENT_PARSER_CRASHED", False)
    assert logs
    assert await text_of(pool, "echo alive") == "alive"


async def test_pool_process_that_dies_once_has_its_document_read_by_another(
    make_pool: MakePool, tmp_path: Path
) -> None:
    with capture_logs() as logs:
        assert await text_of(make_pool(), f"die-once {tmp_path / 'mark'}") == "survived"
    assert [(entry["event"], entry["where"]) for entry in logs] == [
        ("parser process died", [f"it ended with -{signal.SIGSEGV.value}"])
    ]


async def test_pool_exception_in_a_parser_is_logged_by_place_and_not_by_text(make_pool: MakePool) -> None:
    with capture_logs() as logs:
        failure = await failure_of(make_pool(), "fail")
    assert failure.reason == "DOCUMENT_PARSER_CRASHED"
    (entry,) = logs
    assert entry["where"][0] == "ValueError"
    assert "misbehaving.py" in entry["where"][-1]
    assert "hunter2" not in repr(entry) + failure.message


async def test_pool_refusal_crosses_with_all_that_it_says(make_pool: MakePool) -> None:
    pool = make_pool()
    pid = await text_of(pool, "pid")
    failure = await failure_of(pool, "refuse")
    assert isinstance(failure, InvalidArgument)
    assert (failure.reason, failure.message, failure.metadata) == (
        "ROW_INVALID",
        "row 3 is wrong",
        {"row": "3"},
    )
    assert [(each.field, each.description) for each in failure.violations] == [("rows[3]", "wrong")]
    assert await text_of(pool, "pid") == pid


async def test_pool_what_a_library_prints_gets_nowhere(make_pool: MakePool) -> None:
    assert await text_of(make_pool(), "print") == "quiet"


async def test_pool_process_has_none_of_the_workers_powers(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_DATABASE__URL", "a secret")
    found = ast.literal_eval(await text_of(make_pool(), "powers"))
    assert set(found["environment"]) <= {"PATH", "LANG", "LC_CTYPE", "PYTHONPATH"}
    assert (found["write"], found["sockets"], found["descriptors"]) == ("refused", "0", "few")
    for power in ("fork", "execute", "socket", "signal", "prlimit"):
        assert found[power] == "refused", power
    assert found["thread"] == "done"


async def test_pool_cancelled_caller_has_the_process_killed_at_once(make_pool: MakePool) -> None:
    pool = make_pool()
    pid = int(await text_of(pool, "pid"))
    parsing = asyncio.create_task(pool.parse(b"sleep 60"))
    await asyncio.sleep(0.1)
    parsing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await parsing
    await until(lambda: is_gone(pid), timeout_s=5)
    assert await text_of(pool, "echo alive") == "alive"


async def test_pool_caller_cancelled_while_waiting_leaves_its_place(make_pool: MakePool) -> None:
    pool = make_pool()
    first = asyncio.create_task(pool.parse(b"sleep 60"))
    await until(lambda: bool(pool.pids))
    waiting = asyncio.create_task(pool.parse(b"echo never"))
    await asyncio.sleep(0)
    waiting.cancel()
    first.cancel()
    await asyncio.gather(first, waiting, return_exceptions=True)
    assert await text_of(pool, "echo alive") == "alive"


async def test_pool_serves_callers_in_order(make_pool: MakePool) -> None:
    pool = make_pool()
    order: list[int] = []

    async def read(number: int) -> None:
        await pool.parse(b"echo x")
        order.append(number)

    await asyncio.gather(*(read(number) for number in range(6)))
    assert order == list(range(6))


async def test_pool_too_many_waiting_are_told_when_to_come_back(make_pool: MakePool) -> None:
    pool = make_pool(max_waiting=1)
    tasks = [asyncio.create_task(pool.parse(b"sleep 60"))]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(pool.parse(b"sleep 60")))
    await asyncio.sleep(0)
    failure = await failure_of(pool, "echo x")
    assert isinstance(failure, ResourceExhausted)
    assert (failure.reason, failure.is_retryable) == ("PARSERS_BUSY", True)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_pool_progress_is_reported_as_it_is_made_and_not_for_each_page(make_pool: MakePool) -> None:
    pool = make_pool()
    await text_of(pool, "echo warm")
    seen: list[tuple[int, int]] = []
    await pool.parse(b"pages 20", on_pages=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert {total for _, total in seen} == {20}
    assert 2 <= len(seen) < 20


async def test_pool_closed_kills_all_and_turns_callers_away(make_pool: MakePool) -> None:
    pool = make_pool(processes=2)
    await asyncio.gather(text_of(pool, "echo a"), text_of(pool, "echo b"))
    working = asyncio.create_task(pool.parse(b"sleep 60"))
    await asyncio.sleep(0.1)
    pids = pool.pids
    await pool.close()
    with pytest.raises(Unavailable) as caught:
        await working
    assert caught.value.reason == "SERVER_STOPPING"
    assert all(is_gone(pid) for pid in pids)
    assert (await failure_of(pool, "echo x")).reason == "SERVER_STOPPING"


async def test_pool_process_that_does_not_start_makes_it_unavailable() -> None:
    async with ParserPool(ParserLimits(**PATIENT), module="tests.no_such_module") as pool:
        failure = await failure_of(pool, "echo x")
    assert isinstance(failure, Unavailable)
    assert (failure.reason, failure.is_retryable) == ("PARSERS_UNAVAILABLE", True)


WORKER = """
import asyncio, sys
from ingest_worker.sandbox.limits import ParserLimits
from ingest_worker.sandbox.pool import ParserPool

async def work():
    pool = ParserPool(ParserLimits(), processes=1, module=sys.argv[1])
    parsing = asyncio.create_task(pool.parse(b"spin"))
    while not pool.pids:
        await asyncio.sleep(0.01)
    print(*pool.pids, flush=True)
    await parsing

asyncio.run(work())
"""


async def test_pool_process_does_not_outlive_a_worker_that_is_killed() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, MISBEHAVING], stdout=subprocess.PIPE, text=True, env=environment
    ) as worker:
        assert worker.stdout is not None
        (pid,) = map(int, (await asyncio.to_thread(worker.stdout.readline)).split())
        assert not is_gone(pid)
        worker.kill()
    await until(lambda: is_gone(pid) or is_zombie(pid), timeout_s=10)


def is_zombie(pid: int) -> bool:
    """Whether a process has ended, though its new parent has not asked for its status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
