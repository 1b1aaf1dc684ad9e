"""One engine of vLLM: started, asked for streams of tokens, and stopped."""

from __future__ import annotations

import asyncio
import multiprocessing
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog
from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.exceptions import VLLMClientError
from vllm.inputs import tokens_input
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from rag_server.backends.vllm.environment import set_while_starting
from rag_server.backends.vllm.options import EngineOptions
from rag_server.backends.vllm.pace import pause_s
from rag_server.backends.vllm.stats import EngineStats, keep_own_loggers
from rag_server.domain.engine import EngineFigures
from rag_server.errors import FailedPrecondition, Unavailable
from rag_server.logs import where_raised

log = structlog.get_logger()

_STOP_S: Final = 2.0
"""How long the engine's processes may take to end by themselves."""
_RETRY_AFTER_S: Final = 30.0
"""When to come back to a server whose engine has ended: whoever runs it starts it again."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The next piece of an answer."""

    text: str
    """May be empty: some characters have several tokens."""
    count: int
    finish_reason: str | None
    """vLLM's word; None: it goes on."""


class Engine:
    """An `AsyncLLM`, whose work is done in processes of its own."""

    def __init__(self, name: str, llm: AsyncLLM, stats: EngineStats) -> None:
        self._name = name
        self._llm: AsyncLLM | None = llm
        self._stats = stats
        self._metadata = {"model": name}

    @classmethod
    async def start(cls, name: str, options: EngineOptions) -> Engine:
        """Load the model, which takes from half a minute to many; `load_vllm` comes first.

        Raises:
            FailedPrecondition: `VLLM_NOT_STARTED`; the engine has written why to standard error.
        """
        stats = EngineStats()
        log.info("starting vLLM", model=name)

        def start() -> AsyncLLM:
            with set_while_starting(options.variables()):
                arguments = AsyncEngineArgs(**options.arguments())
                llm = AsyncLLM.from_engine_args(arguments, stat_loggers=[lambda *_: stats])
            keep_own_loggers(llm.logger_manager)
            return llm

        try:
            llm = await asyncio.to_thread(start)
        except Exception as error:
            # With its text: it is about the server's own settings, and there is nothing else to go by.
            log.error("vLLM does not start", model=name, where=where_raised(error), text=str(error)[:2000])
            raise FailedPrecondition(
                "VLLM_NOT_STARTED",
                f"vLLM cannot run the model {name!r}: its words in the log say whether the model cannot be "
                "read, needs more memory, or a setting of its provider in `models.providers` is wrong",
                metadata={"model": name},
            ) from error
        return cls(name, llm, stats)

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer, which several threads may use."""
        return self._running().get_tokenizer()

    @property
    def default_sampling(self) -> dict[str, Any]:
        """Arguments of `SamplingParams` that the model's makers recommend."""
        return dict(self._running().model_config.get_diff_sampling_param())

    @property
    def figures(self) -> EngineFigures:
        """How the engine fares."""
        return self._stats.figures

    @property
    def request_count(self) -> int:
        """Requests that are not done with, as seen from this process."""
        return 0 if self._llm is None else int(self._llm.get_num_unfinished_requests())

    async def stream(self, tokens: Sequence[int], sampling: SamplingParams) -> AsyncGenerator[Tokens, None]:
        """Yield the answer to a prompt of `tokens`; closing the generator aborts the request in the engine.

        Raises:
            Unavailable: `VLLM_ENGINE_DEAD`, `VLLM_REQUEST_FAILED`.
            FailedPrecondition: `VLLM_REQUEST_REFUSED`.
        """
        llm, loop = self._running(), asyncio.get_running_loop()
        outputs = llm.generate(tokens_input(list(tokens)), sampling, uuid.uuid4().hex)
        try:
            async with aclosing(outputs):
                async for output in outputs:
                    (piece,) = output.outputs
                    read = loop.time()
                    yield Tokens(piece.text, len(piece.token_ids), piece.finish_reason)
                    if not piece.finish_reason:
                        await asyncio.sleep(pause_s(self.request_count, loop.time() - read))
        except EngineDeadError:
            raise self._dead() from None
        except VLLMClientError as error:
            log.warning("vLLM refuses a request", model=self._name, where=where_raised(error))
            raise FailedPrecondition(
                "VLLM_REQUEST_REFUSED",
                f"the model {self._name!r} does not take the request: it may lack one of the options in "
                "`generation`; leave them out, or choose another model",
                metadata=self._metadata,
            ) from None
        except EngineGenerateError as error:
            if llm.errored:
                raise self._dead() from None
            log.error("vLLM fails at a request", model=self._name, where=where_raised(error))
            raise self.failed() from None

    def check(self) -> None:
        """Raise `Unavailable` (`VLLM_ENGINE_DEAD`) unless the engine can be asked."""
        if self._running().errored:
            raise self._dead()

    def failed(self) -> Unavailable:
        """Return the error for an answer that the engine has given up."""
        return Unavailable(
            "VLLM_REQUEST_FAILED",
            f"the model {self._name!r} broke off its answer",
            metadata=self._metadata,
            retry_after_s=1.0,
        )

    async def close(self) -> None:
        """End the engine's processes."""
        llm, self._llm = self._llm, None
        if llm is None:
            return
        handler = llm.output_handler
        await asyncio.to_thread(llm.shutdown, _STOP_S)
        if handler is not None:
            await asyncio.wait([handler], timeout=_STOP_S)
        multiprocessing.active_children()  # takes note of those that have ended
        # vLLM closes its sockets, and leaves their context to the collector of garbage, which complains.
        context = llm.engine_core.ctx._shadow_obj  # noqa: SLF001 - there is no other way to it
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(context.destroy, 0), _STOP_S)

    def _running(self) -> AsyncLLM:
        if self._llm is None:
            raise self._dead()
        return self._llm

    def _dead(self) -> Unavailable:
        return Unavailable(
            "VLLM_ENGINE_DEAD",
            f"the engine of the model {self._name!r} has ended, and has to be started again with the server",
            metadata=self._metadata,
            retry_after_s=_RETRY_AFTER_S,
        )
