"""`OnnxCrossEncoder`: the `Reranker` that runs a sentence-transformers CrossEncoder without torch.

Nogueira and Cho, "Passage Re-ranking with BERT", 2019.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from rag_server.backends.onnx.artifact import CorruptArtifact, ExportedModel
from rag_server.backends.onnx.cross_encoder_session import CrossEncoderSession
from rag_server.backends.onnx.export_kind import CROSS_ENCODER
from rag_server.backends.onnx.loading import load_model
from rag_server.backends.onnx.pair_tokenizer import Pair, PairTokenizer
from rag_server.backends.onnx.session import RunFailed, Stop
from rag_server.backends.onnx.source import default_cache_dir, resolve
from rag_server.backends.onnx.text_length import TokenRatio
from rag_server.backends.onnx.waiting import Job
from rag_server.backends.onnx.worker import CROSS_ENCODER as CROSS_ENCODER_ROLE
from rag_server.backends.onnx.worker import ModelWorker
from rag_server.cores import usable_cores
from rag_server.domain.priority import Priority
from rag_server.domain.retrieval import ScoreScale
from rag_server.query.rerank.reranker import RerankScores

_TOKENIZED_AT_ONCE = 32
"""Pairs that one tokenizer job takes: how soon a cancelled call stops tokenizing."""


class OnnxCrossEncoder:
    """Implements `Reranker`. Scores lie in 0..1, the logistic function of the model's logit.

    Query and passage share the model's window; see `PairTokenizer.pair` for what is left out of long ones.

    Example:
        reranker = await OnnxCrossEncoder.create("/models/my-cross-encoder")
        scores = await reranker.score("how are chunks cut?", ["At headings.", "A refund takes a week."])
        await reranker.close()
    """

    scale = ScoreScale.CROSS_ENCODER

    def __init__(
        self, tokenizer: PairTokenizer, session: CrossEncoderSession, worker: ModelWorker, window_tokens: int
    ) -> None:
        """Use `create`; this takes the parts as they are and owns `worker` from now on."""
        self._tokenizer = tokenizer
        self._session = session
        self._worker = worker
        self._window_tokens = window_tokens
        self._ratio = TokenRatio()
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="tokenizer-pairs")

    @classmethod
    async def create(
        cls,
        model_id: str,
        *,
        cache_dir: Path | None = None,
        threads: int | None = None,
        batch_tokens: int = 512,
        call_limit: int = 64,
    ) -> OnnxCrossEncoder:
        """Load `model_id`, exporting it first where the cache has it not.

        Args:
            model_id: A folder as `CrossEncoder.save_pretrained` writes it, or a Hugging Face id.
            cache_dir: Folder of exported models; None: `default_cache_dir()`.
            threads: Cores that one batch is computed on; None: all that this process may use.
            batch_tokens: Most tokens of a batch, padding included.
            call_limit: Calls that may wait; more get `RERANKER_UNAVAILABLE`.

        Raises:
            Unavailable: `RERANKER_UNAVAILABLE`, with what to do.
        """
        source = await asyncio.to_thread(resolve, model_id, CROSS_ENCODER)
        folder = cache_dir if cache_dir is not None else default_cache_dir()
        thread_count = threads or usable_cores()
        exported, (tokenizer, session) = await load_model(
            source, folder, lambda exported: load_pairs(exported, thread_count)
        )
        worker = ModelWorker(batch_tokens=batch_tokens, call_limit=call_limit, role=CROSS_ENCODER_ROLE)
        return cls(tokenizer, session, worker, exported.description.window_tokens)

    async def score(self, query: str, passages: Sequence[str]) -> RerankScores:
        loop = asyncio.get_running_loop()
        pairs: list[Pair] = []
        for start in range(0, len(passages), _TOKENIZED_AT_ONCE):
            self._worker.check_room(Priority.INTERACTIVE)
            part = passages[start : start + _TOKENIZED_AT_ONCE]
            pairs += await loop.run_in_executor(self._tokenizing, self._pairs, query, part)
        if not pairs:
            return np.zeros(0, np.float32)
        for passage, pair in zip(passages, pairs, strict=True):
            if len(pair) < self._window_tokens:  # else its end is missing
                self._ratio.observe(len(query) + len(passage), len(pair))
        call = self._worker.submit(Job(self._session.run, pairs, np.copy, _to_scores, Priority.INTERACTIVE))
        try:
            return await call.future
        except asyncio.CancelledError:
            self._worker.abandon(call)
            raise

    def estimate_s(self, query: str, passages: Sequence[str]) -> float:
        tokens = 0.0
        for passage in passages:
            tokens += min(self._ratio.tokens(len(query) + len(passage)), self._window_tokens)
        return self._worker.expected_s(tokens)

    async def close(self) -> None:
        await asyncio.to_thread(self._worker.close)
        # after the worker: its refusal keeps `score` from an executor that takes no more jobs
        self._tokenizing.shutdown(wait=False)

    def _pairs(self, query: str, passages: Sequence[str]) -> list[Pair]:
        return [self._tokenizer.pair(query, passage) for passage in passages]


def _to_scores(outputs: list[np.ndarray]) -> RerankScores:
    return np.array(outputs, np.float32)


def load_pairs(exported: ExportedModel, thread_count: int) -> tuple[PairTokenizer, CrossEncoderSession]:
    """Load an export and run it once: the first caller finds it warm. Raises `CorruptArtifact`."""
    described = exported.description
    tokenizer = PairTokenizer.from_file(exported.tokenizer, window_tokens=described.window_tokens)
    session = CrossEncoderSession(
        exported.graph, thread_count=thread_count, pad_token_id=described.pad_token_id
    )
    try:
        scores = session.run([tokenizer.pair("warm", "warm")], Stop())
    except RunFailed as error:
        raise CorruptArtifact(str(error)) from error
    if scores.shape != (1,):
        raise CorruptArtifact(f"scores of shape {scores.shape}, expected (1,)")
    return tokenizer, session
