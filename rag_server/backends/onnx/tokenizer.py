"""The model's tokenizer: counts, spans, and the windows that a text is embedded in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as FastTokenizer

from rag_server.backends.onnx.artifact import CorruptArtifact
from rag_server.backends.protocols import Offsets


class OnnxTokenizer:
    """Implements `rag_server.backends.protocols.Tokenizer`. Immutable after construction, thread-safe."""

    def __init__(self, fast: FastTokenizer, *, window_tokens: int) -> None:
        """Use `fast` with windows of `window_tokens`, special tokens included.

        Raises `ValueError` where the window leaves no room for a text.
        """
        self._fast = fast
        self._fast.no_padding()
        self._fast.no_truncation()
        self.prefix, self.suffix = _special_tokens(fast)
        self.content_tokens = window_tokens - len(self.prefix) - len(self.suffix)
        if self.content_tokens < 1:
            raise ValueError(f"a window of {window_tokens} tokens has no room for a text")

    @classmethod
    def from_file(cls, path: Path, *, window_tokens: int) -> OnnxTokenizer:
        """Load a `tokenizer.json`. Raises `CorruptArtifact`."""
        try:
            fast = FastTokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower for a file it cannot read
            raise CorruptArtifact(f"tokenizer: {error}") from error
        return cls(fast, window_tokens=window_tokens)

    @property
    def special_token_count(self) -> int:
        """Tokens added to every window."""
        return len(self.prefix) + len(self.suffix)

    def count(self, text: str) -> int:
        return len(self._fast.encode(text, add_special_tokens=False))

    def offsets(self, text: str) -> Offsets:
        encoding = self._fast.encode(text, add_special_tokens=False)
        return np.array(encoding.offsets, np.int32).reshape(-1, 2)

    def windows(self, text: str) -> list[list[int]]:
        """Return the ids of every window of `text`, special tokens included; at least one, none truncated.

        A text of `n > content_tokens` tokens is cut into runs of `content_tokens`; the last may be shorter.
        """
        ids: list[int] = self._fast.encode(text, add_special_tokens=False).ids
        starts = range(0, max(len(ids), 1), self.content_tokens)
        return [[*self.prefix, *ids[start : start + self.content_tokens], *self.suffix] for start in starts]


def _special_tokens(fast: FastTokenizer) -> tuple[list[int], list[int]]:
    """Return the ids that the tokenizer puts before and after a text."""
    encoding = fast.encode("a")
    content = [index for index, special in enumerate(encoding.special_tokens_mask) if not special]
    if not content:  # "a" is unknown to a small vocabulary, and its unknown token counts as special
        bare = len(fast.encode("a", add_special_tokens=False))
        first = (len(encoding) - bare) // 2
        content = list(range(first, first + bare))
    return encoding.ids[: content[0]], encoding.ids[content[-1] + 1 :]
