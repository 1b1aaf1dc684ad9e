"""What a piece of text weighs in tokens, as the sum of what its words do."""

from __future__ import annotations

from ingest_worker.chunk.ruler import CHARACTERS_PER_TOKEN
from rag_server.backends.protocols import Tokenizer

_WORDS = 65_536
"""Remembered at once, some 8 MB: more different words than most books have."""


class WordWeights:
    """Weighs pieces of one document, each word tokenised once while it is remembered.

    For tokenizers that split at white space first (BERT's) that is exact; for others it is an estimate, and
    whoever uses it checks what comes of it (see `fit`). Tokenising each piece anew took two thirds of the
    time of chunking: the search for where to cut weighs every sentence several times.
    """

    def __init__(self, tokenizer: Tokenizer, *, words: int = _WORDS) -> None:
        """Remember up to `words` words."""
        self._of_word = _Known(tokenizer, words).__getitem__

    def __call__(self, piece: str) -> int:
        """Return the tokens of `piece`, or its characters where they weigh more (see `weight_of`)."""
        return max(sum(map(self._of_word, piece.split())), -(-len(piece) // CHARACTERS_PER_TOKEN))


class _Known(dict[str, int]):
    """Tokens by word; forgets all of them when it is full."""

    def __init__(self, tokenizer: Tokenizer, limit: int) -> None:
        super().__init__()
        self._tokenizer = tokenizer
        self._limit = limit

    def __missing__(self, word: str) -> int:
        if len(self) >= self._limit:
            self.clear()
        self[word] = weight = self._tokenizer.count(word)
        return weight
