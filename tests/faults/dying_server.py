"""A server that ends itself with SIGKILL at one step: `python dying_server.py STEP CALL`.

It dies when the step is about to be taken for the CALLth time (`write-chunks`: when it has been).
"""

from __future__ import annotations

import inspect
import itertools
import os
import signal
import sys
from typing import Any

from rag_server.__main__ import main
from rag_server.backends.in_process_queue import InProcessJobQueue
from rag_server.backends.milvus.store import MilvusChunkStore
from rag_server.ingest.sweep import Sweeper
from rag_server.metadata.documents import DocumentRepository
from rag_server.metadata.parents import ParentRepository

STEPS: dict[str, tuple[type, str]] = {
    "publish-job": (InProcessJobQueue, "publish"),
    "write-chunks": (MilvusChunkStore, "upsert"),
    "publish-document": (DocumentRepository, "publish"),
    "take-item": (ParentRepository, "add_child"),
    "end-search": (ParentRepository, "all_found"),
    "sweep": (Sweeper, "_remove"),
}


def arm(step: str, call: int) -> None:
    """Replace the step by one that kills the process."""
    owner, name = STEPS[step]
    original = getattr(owner, name)
    calls = itertools.count(1)

    def dying_at_once(*arguments: Any, **options: Any) -> Any:
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    async def dying(*arguments: Any, **options: Any) -> Any:
        is_last = next(calls) == call
        if is_last and step != "write-chunks":
            os.kill(os.getpid(), signal.SIGKILL)
        result = await original(*arguments, **options)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, dying if inspect.iscoroutinefunction(original) else dying_at_once)


if __name__ == "__main__":
    arm(sys.argv[1], int(sys.argv[2]))
    sys.exit(main())
