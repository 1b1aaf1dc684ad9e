"""A cross-encoder's tokenizer: query and passage as one input."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer as FastTokenizer

from rag_server.backends.onnx.artifact import CorruptArtifact


@dataclass(frozen=True, slots=True)
class Pair:
    """One input of a cross-encoder."""

    ids: list[int]
    """Special tokens included."""
    segments: list[int]
    """Of each token 0 for the query, 1 for the passage, as the model's tokenizer says."""

    def __len__(self) -> int:
        return len(self.ids)


class PairTokenizer:
    """Immutable after construction, thread-safe."""

    def __init__(self, fast: FastTokenizer, *, window_tokens: int) -> None:
        """Use `fast` with inputs of at most `window_tokens`, special tokens included.

        Raises `ValueError` where that leaves no room for a query and a passage.
        """
        self._fast = fast
        self._fast.no_padding()
        self.special_token_count = fast.num_special_tokens_to_add(is_pair=True)
        if window_tokens < self.special_token_count + 2:
            raise ValueError(f"an input of {window_tokens} tokens has no room for a query and a passage")
        self._fast.enable_truncation(window_tokens, strategy="longest_first")

    @classmethod
    def from_file(cls, path: Path, *, window_tokens: int) -> PairTokenizer:
        """Load a `tokenizer.json`. Raises `CorruptArtifact`."""
        try:
            fast = FastTokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower for a file it cannot read
            raise CorruptArtifact(f"tokenizer: {error}") from error
        return cls(fast, window_tokens=window_tokens)

    def pair(self, query: str, passage: str) -> Pair:
        """Return the input for `query` and `passage`.

        Where both do not fit, the longer of the two loses tokens from its end until they do: the end of a
        long passage is not read.
        """
        encoding = self._fast.encode(query, passage)
        return Pair(encoding.ids, encoding.type_ids)
