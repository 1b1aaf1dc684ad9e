"""One engine of vLLM: started, asked for streams of tokens, and stopped."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog
from vllm import SamplingParams, envs
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.exceptions import VLLMClientError
from vllm.inputs import tokens_input
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from rag_server.backends.vllm.detokenizer import Detokenizer
from rag_server.backends.vllm.environment import set_while_starting
from rag_server.backends.vllm.options import EngineOptions
from rag_server.backends.vllm.pace import PacedStreams, pause_s, tokens_together
from rag_server.backends.vllm.stats import EngineStats, keep_own_loggers
from rag_server.domain.engine import EngineFigures
from rag_server.errors import FailedPrecondition, Unavailable
from rag_server.logs import where_raised

log = structlog.get_logger()

_STOP_S: Final = 2.0
"""How long the engine's processes may take to end by themselves."""
_RETRY_AFTER_S: Final = 30.0
"""When to come back to a server whose engine has ended, as long as nobody knows better."""


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

    def __init__(self, name: str, options: EngineOptions) -> None:
        """Describe an engine that does not run yet."""
        self.name = name
        self._options = options
        self._llm: AsyncLLM | None = None
        self._streams = PacedStreams()
        self._stats = EngineStats(self._streams.end)
        self._metadata = {"model": name}
        self._back_at: float | None = None

    @classmethod
    async def start(cls, name: str, options: EngineOptions) -> Engine:
        """Load the model, which takes from half a minute to many; `load_vllm` comes first.

        Raises:
            FailedPrecondition: `VLLM_NOT_STARTED`; the engine has written why to standard error.
        """
        engine = cls(name, options)
        await engine.restart()
        return engine

    async def restart(self) -> None:
        """End what is left of the engine, and load the model again. Raises as `start` does."""
        handler = self._llm.output_handler if self._llm is not None else None
        if handler is not None:  # which tells those who still read that the engine has died
            await asyncio.wait([handler], timeout=_STOP_S)
        await self.close()
        log.info("starting vLLM", model=self.name)
        stats = self._stats = EngineStats(self._streams.end, self._stats.figures)
        starting = asyncio.ensure_future(asyncio.to_thread(_start, self._options, stats))
        try:
            self._llm = await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_end_unwanted)  # nothing can interrupt it
            raise
        except Exception as error:
            # With its text: it is about the server's own settings, and there is nothing else to go by.
            log.error(
                "vLLM does not start", model=self.name, where=where_raised(error), text=str(error)[:2000]
            )
            raise FailedPrecondition(
                "VLLM_NOT_STARTED",
                f"vLLM cannot run the model {self.name!r}: its words in the log say whether the model cannot "
                "be read, needs more memory, or a setting of its provider in `models.providers` is wrong",
                metadata=self._metadata,
            ) from error
        self._back_at = None

    def expect_back(self, in_s: float | None) -> None:
        """Tell callers when the engine should be back, in seconds from now; None: nobody starts it again."""
        self._back_at = None if in_s is None else time.monotonic() + in_s

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

        `sampling` is told how many tokens are to come together, and who turns them into text.

        Raises:
            Unavailable: `VLLM_ENGINE_DEAD`, `VLLM_ENGINE_RESTARTING`, `VLLM_REQUEST_FAILED`.
            FailedPrecondition: `VLLM_REQUEST_REFUSED`.
        """
        llm, loop = self._running(), asyncio.get_running_loop()
        stream_id = uuid.uuid4().hex
        stream = self._streams.begin(stream_id)
        if sampling.stream_interval is None:
            sampling.stream_interval = tokens_together(self.request_count + 1, self._stats.step_s)
        detokenizer = Detokenizer.instead_of_vllm(llm.get_tokenizer(), tokens, sampling)
        outputs = llm.generate(tokens_input(list(tokens)), sampling, stream_id)
        try:
            async with aclosing(outputs):
                async for output in outputs:
                    (piece,) = output.outputs
                    read = loop.time()
                    ids, finished = piece.token_ids, piece.finish_reason
                    text = piece.text if detokenizer is None else detokenizer.text_of(ids, finished)
                    yield Tokens(text, len(ids), finished)
                    if not finished:
                        await stream.pause(pause_s(self.request_count, loop.time() - read))
        except EngineDeadError:
            raise self._dead() from None
        except VLLMClientError as error:
            log.warning("vLLM refuses a request", model=self.name, where=where_raised(error))
            raise FailedPrecondition(
                "VLLM_REQUEST_REFUSED",
                f"the model {self.name!r} does not take the request: it may lack one of the options in "
                "`generation`; leave them out, or choose another model",
                metadata=self._metadata,
            ) from None
        except EngineGenerateError as error:
            if llm.errored:
                raise self._dead() from None
            log.error("vLLM fails at a request", model=self.name, where=where_raised(error))
            raise self.failed() from None

    def check(self) -> None:
        """Raise `Unavailable` (`VLLM_ENGINE_DEAD`, `VLLM_ENGINE_RESTARTING`) unless it can be asked."""
        if self._running().errored:
            raise self._dead()

    def failed(self) -> Unavailable:
        """Return the error for an answer that the engine has given up."""
        return Unavailable(
            "VLLM_REQUEST_FAILED",
            f"the model {self.name!r} broke off its answer",
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
        if self._back_at is not None:
            raise Unavailable(
                "VLLM_ENGINE_RESTARTING",
                f"the engine of the model {self.name!r} has ended, and is being started again",
                metadata=self._metadata,
                retry_after_s=max(1.0, self._back_at - time.monotonic()),
            )
        if self._llm is None:
            raise self._dead()
        return self._llm

    def _dead(self) -> Unavailable:
        return Unavailable(
            "VLLM_ENGINE_DEAD",
            f"the engine of the model {self.name!r} has ended; if it does not come back, whoever runs the "
            "server has to look into it, and start the server again",
            metadata=self._metadata,
            retry_after_s=_RETRY_AFTER_S,
        )


def _start(options: EngineOptions, stats: EngineStats) -> AsyncLLM:
    envs.disable_envs_cache()
    try:
        with set_while_starting(options.variables()):
            arguments = AsyncEngineArgs(**options.arguments())
            llm = AsyncLLM.from_engine_args(arguments, stat_loggers=[lambda *_: stats])
    finally:
        # vLLM asks for a variable with each token, a tenth of what it takes of this process otherwise.
        envs.enable_envs_cache()
    keep_own_loggers(llm.logger_manager)
    return llm


def _end_unwanted(starting: asyncio.Future[AsyncLLM]) -> None:
    """End an engine that nobody waits for any longer."""
    if not starting.cancelled() and starting.exception() is None:
        starting.result().shutdown(_STOP_S)
