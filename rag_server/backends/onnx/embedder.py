"""`OnnxEmbedder`: the `Embedder` that runs a sentence-transformers model without torch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from rag_server.backends.onnx.artifact import CorruptArtifact, ExportedModel
from rag_server.backends.onnx.batching import Window, plan_windows
from rag_server.backends.onnx.loading import load_model
from rag_server.backends.onnx.session import EmbeddingSession, RunFailed, Stop, TokenEmbeddings
from rag_server.backends.onnx.source import default_cache_dir, resolve
from rag_server.backends.onnx.text_length import TokenRatio
from rag_server.backends.onnx.tokenizer import OnnxTokenizer
from rag_server.backends.onnx.waiting import Job
from rag_server.backends.onnx.worker import ModelWorker
from rag_server.backends.protocols import EmbeddingModel, Embeddings
from rag_server.cores import usable_cores
from rag_server.domain.priority import Priority

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
_TOKENIZED_AT_ONCE = 32
"""Texts that one tokenizer job takes: how soon a cancelled call stops tokenizing."""
_INLINE_CHARACTERS = 512
"""Tokenized on the event loop: at 0.1 ms it takes less of the loop than handing it to a thread."""

Reduce = Callable[[TokenEmbeddings], npt.NDArray[np.float32]]

T = TypeVar("T")


class Session(Protocol):
    """What the embedder needs of `rag_server.backends.onnx.session.EmbeddingSession`."""

    def run(self, windows: Sequence[Window], stop: Stop, *, is_shared: bool = False) -> Embeddings: ...

    def run_tokens(
        self, windows: Sequence[Window], stop: Stop, *, is_shared: bool = False
    ) -> list[TokenEmbeddings]: ...


class OnnxEmbedder:
    """Embeds on one worker thread, interactive calls before bulk ones.

    Example:
        embedder = await OnnxEmbedder.create("sentence-transformers/all-MiniLM-L6-v2")
        vectors = await embedder.embed(["how are chunks cut?"])    # (1, 384)
        await embedder.close()
    """

    def __init__(
        self, model: EmbeddingModel, tokenizer: OnnxTokenizer, session: Session, worker: ModelWorker
    ) -> None:
        """Use `create`; this takes the parts as they are and owns `worker` from now on."""
        self._model = model
        self._tokenizer = tokenizer
        self._session = session
        self._worker = worker
        self._ratio = TokenRatio()
        # one tokenizer thread per priority: a query never waits for the tokens of a large document
        self._tokenizing = {
            priority: ThreadPoolExecutor(1, thread_name_prefix=f"tokenizer-{priority.name.lower()}")
            for priority in Priority
        }

    @classmethod
    async def create(
        cls,
        model_id: str = DEFAULT_MODEL,
        *,
        cache_dir: Path | None = None,
        threads: int | None = None,
        batch_tokens: int = 512,
        call_limit: int = 256,
    ) -> OnnxEmbedder:
        """Load `model_id`, exporting it first where the cache has it not.

        Args:
            model_id: See `rag_server.backends.onnx.source`.
            cache_dir: Folder of exported models; None: `default_cache_dir()`.
            threads: Cores that one batch is computed on; None: all that this process may use.
            batch_tokens: Most tokens of a batch, padding included. Bounds the memory of a run and
                how long a query waits behind bulk work.
            call_limit: Calls of one priority that may wait; more get `EMBEDDER_OVERLOADED`.

        Raises:
            Unavailable: `EMBEDDER_UNAVAILABLE`, with what to do.
        """
        source = await asyncio.to_thread(resolve, model_id)
        folder = cache_dir if cache_dir is not None else default_cache_dir()
        thread_count = threads or usable_cores()
        exported, (tokenizer, session) = await load_model(
            source, folder, lambda exported: _load(exported, thread_count)
        )
        described = exported.description
        model = EmbeddingModel(
            id=model_id,
            dimension=described.dimension,
            window_tokens=described.window_tokens,
            special_token_count=described.special_token_count,
            languages=described.languages,
        )
        worker = ModelWorker(batch_tokens=batch_tokens, call_limit=call_limit)
        return cls(model, tokenizer, session, worker)

    @property
    def model(self) -> EmbeddingModel:
        return self._model

    @property
    def tokenizer(self) -> OnnxTokenizer:
        return self._tokenizer

    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.INTERACTIVE) -> Embeddings:
        if not texts:
            return np.zeros((0, self._model.dimension), np.float32)
        windows = await self._tokenize(texts, priority)
        plan = plan_windows(windows, special_token_count=self._model.special_token_count)
        # copied: one vector does not keep those of the whole run in memory
        return await self._compute(Job(self._session.run, plan.windows, np.copy, plan.merge, priority))

    async def embed_tokens(
        self, texts: Sequence[str], *, reduce: Reduce, priority: Priority = Priority.INTERACTIVE
    ) -> list[list[npt.NDArray[np.float32]]]:
        """Return for each text, for each of its windows, what `reduce` makes of its tokens' vectors.

        Lets `embed` calls of the same priority go first. Raises as `embed`.

        Args:
            texts: As for `embed`.
            reduce: Called by the model's thread with the unit vectors of a window's tokens,
                `(tokens, d)`, special tokens left out; a window may have none. Returns a new array.
            priority: As for `embed`.
        """
        if not texts:
            return []
        windows = await self._tokenize(texts, priority)
        flat = [window for text in windows for window in text]
        first, beyond = len(self._tokenizer.prefix), len(self._tokenizer.suffix)

        def keep(tokens: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            return reduce(tokens[first : len(tokens) - beyond])

        run = self._session.run_tokens
        reduced = await self._compute(Job(run, flat, keep, list, priority, is_patient=True))
        remaining = iter(reduced)
        return [[next(remaining) for _ in text] for text in windows]

    def expected_s(self, texts: Sequence[str]) -> float:
        """Return the seconds that `texts` would take at interactive priority now, by what was measured."""
        tokens = self._ratio.tokens(sum(map(len, texts)))
        return self._worker.expected_s(tokens + self._model.special_token_count * len(texts))

    async def close(self) -> None:
        """Fail the calls that wait with `Unavailable` and free the model. Idempotent."""
        await asyncio.to_thread(self._worker.close)
        # after the worker: its refusal keeps `embed` from an executor that takes no more jobs
        for executor in self._tokenizing.values():
            executor.shutdown(wait=False)

    async def _tokenize(self, texts: Sequence[str], priority: Priority) -> list[list[Window]]:
        windows: list[list[Window]] = []
        for start in range(0, len(texts), _TOKENIZED_AT_ONCE):
            self._worker.check_room(priority)
            part = texts[start : start + _TOKENIZED_AT_ONCE]
            if sum(map(len, part)) <= _INLINE_CHARACTERS:
                windows += self._windows(part)
                continue
            loop = asyncio.get_running_loop()
            added = await loop.run_in_executor(self._tokenizing[priority], self._windows, part)
            self._ratio.observe(sum(map(len, part)), sum(len(window) for text in added for window in text))
            windows += added
        return windows

    async def _compute(self, job: Job[T]) -> T:
        call = self._worker.submit(job)
        try:
            return await call.future
        except asyncio.CancelledError:
            self._worker.abandon(call)
            raise

    def _windows(self, texts: Sequence[str]) -> list[list[Window]]:
        return [self._tokenizer.windows(text) for text in texts]


def _load(exported: ExportedModel, thread_count: int) -> tuple[OnnxTokenizer, EmbeddingSession]:
    """Load an export and run it once: the first caller finds it warm. Raises `CorruptArtifact`."""
    described = exported.description
    tokenizer = OnnxTokenizer.from_file(exported.tokenizer, window_tokens=described.window_tokens)
    if tokenizer.special_token_count != described.special_token_count:
        raise CorruptArtifact("the tokenizer adds another number of special tokens than described")
    session = EmbeddingSession(exported.graph, thread_count=thread_count, pad_token_id=described.pad_token_id)
    try:
        vectors = session.run(tokenizer.windows("warm"), Stop())
    except RunFailed as error:
        raise CorruptArtifact(str(error)) from error
    if vectors.shape != (1, described.dimension):
        raise CorruptArtifact(f"vectors of shape {vectors.shape}, expected (1, {described.dimension})")
    return tokenizer, session
