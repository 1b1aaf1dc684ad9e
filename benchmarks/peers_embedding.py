"""One query embedding by sentence-transformers: what these peers run unless they are given an embedder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from rag_server.backends.onnx.source import resolve
from rag_server.cores import usable_cores


def sentence_transformers_seconds(model_id: str) -> Callable[[str], float]:
    """Return what embeds a text with all cores and returns how long that took."""
    if (folder := resolve(model_id).folder) is not None:
        os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.set_num_threads(usable_cores())
    model = SentenceTransformer(str(folder or model_id), device="cpu")

    def embed(text: str) -> float:
        started = time.perf_counter()
        model.encode(text, show_progress_bar=False)
        return time.perf_counter() - started

    return embed
