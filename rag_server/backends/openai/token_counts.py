"""How many tokens a text has for a model that runs elsewhere: by its tokenizer's file, or estimated.

The estimate (docs/decisions/0026) is meant to be too high: a prompt that is cut too early loses its lowest
source, one that is too long is refused as a whole.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Protocol

from rag_server.errors import FailedPrecondition

_PIECES = re.compile(
    r"(?P<word>[A-Z]?[a-z]+)|(?P<capitals>[A-Z]+)|(?P<digits>[0-9]+)|(?P<space>[ ]+)|(?P<other>[^ ])",
    re.DOTALL,
)
_LETTERS_PER_TOKEN = 3
_CAPITALS_PER_TOKEN = 2
_SPACES_PER_TOKEN = 4
_LAST_LATIN = "\u024f"


class TokenCounter(Protocol):
    """Counts tokens; pure CPU, thread-safe."""

    @property
    def is_exact(self) -> bool: ...

    def count(self, text: str) -> int:
        """Return the number of tokens of `text`, without special tokens."""
        ...


class EstimatedTokens:
    """An upper estimate for any of today's byte-pair tokenizers."""

    is_exact = False

    def count(self, text: str) -> int:
        """Return what `text` has at most, in all likelihood."""
        return sum(_cost(match) for match in _PIECES.finditer(text))


def _cost(match: re.Match[str]) -> int:
    piece = match.group()
    match match.lastgroup:
        case "word":
            return math.ceil(len(piece) / _LETTERS_PER_TOKEN)
        case "capitals":
            return math.ceil(len(piece) / _CAPITALS_PER_TOKEN)
        case "digits":  # one by one, as many tokenizers take them
            return len(piece)
        case "space":  # one goes with the word that follows
            return (len(piece) - 1) // _SPACES_PER_TOKEN + (len(piece) > 1)
        case _:
            if piece <= _LAST_LATIN:
                return 1
            return len(piece.encode("utf-8", "replace")) - (piece <= "\uffff")


class TokenizerFile:
    """The model's own tokenizer, from the file `tokenizer.json` that models are published with."""

    is_exact = True

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, path: Path, model: str) -> TokenizerFile:
        """Read the file.

        Raises:
            FailedPrecondition: `TOKENIZER_UNUSABLE`.
        """
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:
            raise FailedPrecondition(
                "TOKENIZER_UNUSABLE",
                f"the `tokenizer_file` of the model {model!r} cannot be read as a tokenizer.json",
                metadata={"model": model},
            ) from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(tokenizer)

    def count(self, text: str) -> int:
        """Return the number of tokens of `text`, without special tokens."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)
