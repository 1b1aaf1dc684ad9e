"""`OnnxEntailment`: a CrossEncoder of natural language inference, run without torch.

Whether a premise entails a hypothesis: Bowman et al., "A large annotated corpus for learning natural language
inference", EMNLP 2015. As a measure of grounding: Honovich et al., "TRUE: Re-evaluating Factual Consistency
Evaluation", NAACL 2022.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from rag_server.backends.onnx.cross_encoder import load_pairs
from rag_server.backends.onnx.cross_encoder_session import CrossEncoderSession
from rag_server.backends.onnx.export_kind import ENTAILMENT
from rag_server.backends.onnx.loading import load_model
from rag_server.backends.onnx.pair_tokenizer import Pair, PairTokenizer
from rag_server.backends.onnx.source import default_cache_dir, resolve
from rag_server.backends.onnx.waiting import Job, Output
from rag_server.backends.onnx.worker import ENTAILMENT as ENTAILMENT_ROLE
from rag_server.backends.onnx.worker import ModelWorker
from rag_server.cores import usable_cores
from rag_server.domain.priority import Priority

_BATCH_TOKENS = 512
_CALL_LIMIT = 64


class OnnxEntailment:
    """Implements `Entailment`.

    Example:
        model = await OnnxEntailment.create("/models/nli-deberta-v3-xsmall")
        (probability,) = await model.entails([("The tower opened in 1889.", "It opened in 1889.")])
        await model.close()
    """

    def __init__(
        self, name: str, tokenizer: PairTokenizer, session: CrossEncoderSession, worker: ModelWorker
    ) -> None:
        """Use `create`; this takes the parts as they are and owns `worker` from now on."""
        self.name = name
        self._tokenizer = tokenizer
        self._session = session
        self._worker = worker
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="tokenizer-entailment")

    @classmethod
    async def create(
        cls, model_id: str, *, cache_dir: Path | None = None, threads: int | None = None
    ) -> OnnxEntailment:
        """Load `model_id`, exporting it first where the cache has it not.

        Args:
            model_id: A folder as `CrossEncoder.save_pretrained` writes it, or a Hugging Face id.
            cache_dir: Folder of exported models; None: `default_cache_dir()`.
            threads: Cores that one batch is computed on; None: all that this process may use.

        Raises:
            Unavailable: `GROUNDING_UNAVAILABLE`, with what to do.
        """
        source = await asyncio.to_thread(resolve, model_id, ENTAILMENT)
        folder = cache_dir if cache_dir is not None else default_cache_dir()
        thread_count = threads or usable_cores()
        _, (tokenizer, session) = await load_model(
            source, folder, lambda exported: load_pairs(exported, thread_count)
        )
        worker = ModelWorker(batch_tokens=_BATCH_TOKENS, call_limit=_CALL_LIMIT, role=ENTAILMENT_ROLE)
        name = source.folder.name if source.folder is not None else model_id
        return cls(name, tokenizer, session, worker)

    async def entails(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return the probability, 0 to 1, that the first text of each pair says what the second one does.

        Where both do not fit the model's window, the longer one loses its end. Raises `Unavailable`
        (`GROUNDING_UNAVAILABLE`).
        """
        if not pairs:
            return []
        self._worker.check_room(Priority.INTERACTIVE)
        loop = asyncio.get_running_loop()
        tokenized: list[Pair] = await loop.run_in_executor(
            self._tokenizing, lambda: [self._tokenizer.pair(*pair) for pair in pairs]
        )
        call = self._worker.submit(
            Job(self._session.run, tokenized, np.copy, _probabilities, Priority.INTERACTIVE)
        )
        try:
            return await call.future
        except asyncio.CancelledError:
            self._worker.abandon(call)
            raise

    async def close(self) -> None:
        """Free what it owns. Idempotent; `entails` raises `Unavailable` afterwards."""
        await asyncio.to_thread(self._worker.close)
        self._tokenizing.shutdown(wait=False)


def _probabilities(outputs: list[Output]) -> list[float]:
    return [float(each) for each in outputs]
