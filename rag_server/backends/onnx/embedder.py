"""`OnnxEmbedder`: the `Embedder` that runs a sentence-transformers model without torch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import structlog

from rag_server.backends.onnx.artifact import CorruptArtifact, ExportedModel
from rag_server.backends.onnx.batching import Window, plan_windows
from rag_server.backends.onnx.cache import discard, ensure_exported
from rag_server.backends.onnx.session import EmbeddingSession, RunFailed, Stop
from rag_server.backends.onnx.source import REASON, default_cache_dir, resolve
from rag_server.backends.onnx.tokenizer import OnnxTokenizer
from rag_server.backends.onnx.worker import EmbeddingWorker
from rag_server.backends.protocols import EmbeddingModel, Embeddings, Priority
from rag_server.cores import usable_cores
from rag_server.errors import Unavailable

_logger = structlog.get_logger(__name__)

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
_TOKENIZED_AT_ONCE = 32
"""Texts that one tokenizer job takes: how soon a cancelled call stops tokenizing."""


_INLINE_CHARACTERS = 512
"""Tokenized on the event loop: at 0.1 ms it takes less of the loop than handing it to a thread."""


class OnnxEmbedder:
    """Embeds on one worker thread, interactive calls before bulk ones.

    Example:
        embedder = await OnnxEmbedder.create("sentence-transformers/all-MiniLM-L6-v2")
        vectors = await embedder.embed(["how are chunks cut?"])    # (1, 384)
        await embedder.close()
    """

    def __init__(self, model: EmbeddingModel, tokenizer: OnnxTokenizer, worker: EmbeddingWorker) -> None:
        """Use `create`; this takes the parts as they are and owns `worker` from now on."""
        self._model = model
        self._tokenizer = tokenizer
        self._worker = worker
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
        for is_last in (False, True):
            exported = await ensure_exported(source, folder)
            try:
                tokenizer, session = await asyncio.to_thread(_load, exported, thread_count)
            except CorruptArtifact as error:
                _logger.warning(
                    "cached model does not load: exporting again", model=model_id, error=str(error)
                )
                if not is_last:
                    await asyncio.to_thread(discard, exported)
                continue
            break
        else:
            raise Unavailable(
                REASON, "the exported embedding model does not load on this machine: see the server's log"
            )
        described = exported.description
        model = EmbeddingModel(
            id=model_id,
            dimension=described.dimension,
            window_tokens=described.window_tokens,
            special_token_count=described.special_token_count,
            languages=described.languages,
        )
        worker = EmbeddingWorker(
            session, dimension=model.dimension, batch_tokens=batch_tokens, call_limit=call_limit
        )
        return cls(model, tokenizer, worker)

    @property
    def model(self) -> EmbeddingModel:
        return self._model

    @property
    def tokenizer(self) -> OnnxTokenizer:
        return self._tokenizer

    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.INTERACTIVE) -> Embeddings:
        if not texts:
            return np.zeros((0, self._model.dimension), np.float32)
        loop = asyncio.get_running_loop()
        windows: list[list[Window]] = []
        for start in range(0, len(texts), _TOKENIZED_AT_ONCE):
            self._worker.check_room(priority)
            part = texts[start : start + _TOKENIZED_AT_ONCE]
            if sum(map(len, part)) <= _INLINE_CHARACTERS:
                windows += self._windows(part)
                continue
            windows += await loop.run_in_executor(self._tokenizing[priority], self._windows, part)
        plan = plan_windows(windows, special_token_count=self._model.special_token_count)
        call = self._worker.submit(plan, priority)
        try:
            return await asyncio.wrap_future(call.future)
        except asyncio.CancelledError:
            self._worker.abandon(call)
            raise

    async def close(self) -> None:
        """Fail the calls that wait with `Unavailable` and free the model. Idempotent."""
        await asyncio.to_thread(self._worker.close)
        # after the worker: its refusal keeps `embed` from an executor that takes no more jobs
        for executor in self._tokenizing.values():
            executor.shutdown(wait=False)

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
