"""`python -m rag_server`: read the settings, serve until SIGTERM or SIGINT, exit.

Exit codes: 0 stopped when asked to, 1 could not start or run, 2 wrong settings.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys

import structlog
from pydantic import ValidationError

from rag_server.config import Settings, describe_invalid
from rag_server.errors import RagError
from rag_server.logs import configure_logs, where_raised

log = structlog.get_logger()


async def serve(settings: Settings) -> None:
    """Serve until the process is asked to stop. Raises `RagError` when the server cannot start."""
    from rag_server.app import running_server  # heavy: wrong settings are told without waiting for it

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    async with running_server(settings):
        # What starting made lives as long as the process: the collector need not walk it again and again.
        gc.collect()
        gc.freeze()
        await stop.wait()
    # A document that is being parsed holds a thread, which nothing can interrupt and which Python would wait
    # for. Its job is unfinished and runs again at the next start; all state is written and closed.
    sys.stderr.flush()
    os._exit(0)


def main() -> int:
    """Run the server; return the exit code."""
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
        asyncio.run(serve(settings))
    except RagError as error:
        log.error("cannot serve", reason=error.reason, message=error.message)
        return 1
    except Exception as error:  # noqa: BLE001 - the boundary: Python would print the text, which may hold a secret
        log.error("cannot serve", reason="INTERNAL", where=where_raised(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
