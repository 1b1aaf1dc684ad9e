"""A process from its settings to its exit code, which servers and workers share.

Exit codes: 0 stopped when asked to, 1 could not start or run, 2 wrong settings.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import structlog
from pydantic import ValidationError

from rag_server.config import Settings, describe_invalid
from rag_server.errors import RagError
from rag_server.logs import configure_logs, where_raised

log = structlog.get_logger()

Running = Callable[[Settings], AbstractAsyncContextManager[object]]
"""Runs the process for the length of its block, and stops it with grace."""


def keep_what_started() -> None:
    """Have the garbage collector walk only what is made from now on.

    What starting makes lives as long as the process. With vLLM that is a million objects: walking them takes
    half a second, in which no call goes on.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


async def _run_until_stopped(load: Callable[[], Running], settings: Settings) -> None:
    gc.disable()  # to walk what starting makes again and again takes an eighth of the start
    running = load()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    async with running(settings):
        keep_what_started()
        await stop.wait()
    # A document that is being parsed holds a thread, which nothing can interrupt and which Python would wait
    # for. Its job is unfinished and runs again; all state is written and closed.
    sys.stderr.flush()
    os._exit(0)


def run(load: Callable[[], Running]) -> int:
    """Read the settings, run what `load` imports until SIGTERM or SIGINT, and return the exit code.

    `load` is called after the settings were read: wrong ones are told without waiting for heavy imports.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        print(describe_invalid(error), file=sys.stderr)  # noqa: T201 - there is no log yet
        return 2
    except RagError as error:
        print(f"wrong settings:\n  {error.message}", file=sys.stderr)  # noqa: T201 - likewise
        return 2
    configure_logs(settings.log)
    try:
        asyncio.run(_run_until_stopped(load, settings))
    except RagError as error:
        log.error("cannot serve", reason=error.reason, message=error.message)
        return 1
    except Exception as error:  # noqa: BLE001 - the boundary: Python would print the text, which may hold a secret
        log.error("cannot serve", reason="INTERNAL", where=where_raised(error))
        return 1
    finally:
        gc.enable()
    return 0
