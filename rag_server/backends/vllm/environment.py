"""The environment that vLLM finds: it reads much of its configuration from there, and only there."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from rag_server.backends.vllm.engine_process import MARK
from rag_server.errors import FailedPrecondition

_ALWAYS: Final = {
    # It tells its makers where it runs unless it is told not to.
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "DO_NOT_TRACK": "1",
    # It would set up logging of its own. Warnings of this process go where those of other libraries go; what
    # the engine's process has to say of its failures goes to standard error.
    "VLLM_CONFIGURE_LOGGING": "0",
    # A fork of a process with gRPC's threads hangs sooner or later.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    MARK: "1",
}


def load_vllm() -> None:
    """Import vLLM, once its environment is what it should be. Takes seconds, and holds the event loop.

    Raises:
        FailedPrecondition: `VLLM_NOT_INSTALLED`.
    """
    os.environ.update(_ALWAYS)
    if importlib.util.find_spec("vllm") is None:
        raise FailedPrecondition(
            "VLLM_NOT_INSTALLED",
            "a provider of the kind `vllm` is configured, but vLLM is not installed: "
            "pip install 'rag-server[vllm]' (docs/models.md says how on a CPU)",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its dependencies, about each other
        import vllm.v1.engine.async_llm  # noqa: F401


@contextmanager
def set_while_starting(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the processes that are started in the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
