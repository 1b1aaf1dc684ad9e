"""Stand-ins that pass the conformance suite of the role they play."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from rag_server.backends.protocols import EmbeddingModel, Embeddings, Offsets
from rag_server.domain.priority import Priority
from rag_server.errors import Unavailable

_TOKEN = re.compile(r"\w+|[^\w\s]")
_SPECIAL_TOKEN_COUNT = 2
_TEXTS_PER_TURN = 64


class WordTokenizer:
    """Implements `Tokenizer`: a token is a run of word characters or one other visible character."""

    def count(self, text: str) -> int:
        return sum(1 for _ in _TOKEN.finditer(text))

    def offsets(self, text: str) -> Offsets:
        return np.array([match.span() for match in _TOKEN.finditer(text)], np.int32).reshape(-1, 2)


class HashEmbedder:
    """Implements `Embedder` without a model: a text is the sum of its words' pseudo-random vectors.

    Texts that share words are near one another, others almost orthogonal; the same in every process.
    Case is ignored, as in the default model.
    """

    def __init__(self, *, dimension: int = 64, window_tokens: int = 256) -> None:
        self._model = EmbeddingModel(
            id=f"hash-{dimension}",
            dimension=dimension,
            window_tokens=window_tokens,
            special_token_count=_SPECIAL_TOKEN_COUNT,
            languages=(),
        )
        self._tokenizer = WordTokenizer()
        self._is_closed = False

    @property
    def model(self) -> EmbeddingModel:
        return self._model

    @property
    def tokenizer(self) -> WordTokenizer:
        return self._tokenizer

    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.INTERACTIVE) -> Embeddings:
        vectors = np.zeros((len(texts), self._model.dimension), np.float32)
        for index, text in enumerate(texts):
            if self._is_closed:
                raise Unavailable("EMBEDDER_UNAVAILABLE", "the embedder is closed: the server is stopping")
            if index % _TEXTS_PER_TURN == 0:
                await asyncio.sleep(0)
            vectors[index] = self._embed(text)
        return vectors

    async def close(self) -> None:
        self._is_closed = True

    def _embed(self, text: str) -> npt.NDArray[np.float32]:
        words = _TOKEN.findall(text.lower())
        size = self._model.content_tokens
        windows = [words[start : start + size] for start in range(0, max(len(words), 1), size)]
        total = np.zeros(self._model.dimension, np.float32)
        for window in windows:
            total += max(len(window), 1) * self._embed_window(window)
        return total / np.linalg.norm(total)

    def _embed_window(self, words: list[str]) -> npt.NDArray[np.float32]:
        # the empty word stands for the special tokens: a text without words has a vector, too
        vector = sum(
            (_word_vector(word, self._model.dimension) for word in words),
            start=0.1 * _word_vector("", self._model.dimension),
        )
        return vector / np.float32(np.linalg.norm(vector))


@lru_cache(maxsize=65_536)
def _word_vector(word: str, dimension: int) -> npt.NDArray[np.float32]:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)
    vector /= np.linalg.norm(vector)
    vector.flags.writeable = False
    return vector
