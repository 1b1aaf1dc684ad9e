"""What the processes that vLLM starts do first: see to it that they end with the server.

vLLM starts an engine process, and that starts workers. They end when the server stops; when it is killed,
the engine process would go on for ever, and hold the GPU's memory. vLLM calls `prepare` in each of them, as
one of its plugins (the entry point `vllm.general_plugins` of this package).
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.connection import wait
from typing import Final

MARK: Final = "RAG_SERVER_ENGINE"
"""Set in the environment of the engines that are ours: vLLM may be used from here without the server, too."""


def prepare() -> None:
    """Tie this process to the one that started it; does nothing in any but an engine's.

    It leaves the terminal's process group, too: Ctrl-C is for the server, which lets its streams come to
    their end first.
    """
    parent = multiprocessing.parent_process()
    if parent is None or not os.environ.get(MARK):
        return
    os.setpgid(0, 0)
    threading.Thread(target=_end_with, args=(parent.sentinel,), name="parent-watch", daemon=True).start()


def _end_with(sentinel: int) -> None:
    """Wait for the end of the process behind `sentinel`, and end this one there and then."""
    wait([sentinel])
    os._exit(1)
