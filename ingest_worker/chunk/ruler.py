"""A ruler along a document: how many tokens lie between two positions, without tokenising again."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import pairwise

from rag_server.backends.protocols import Tokenizer
from rag_server.domain.document import Block, Span

CHARACTERS_PER_TOKEN = 16
"""A token weighs one more for each so many characters, the gap before it included.

Text has 3 to 6 characters to a token. Without this bound a megabyte that the model reads as a single
unknown word, or a megabyte of spaces, would be one chunk.
"""


def weight_of(text: str, tokenizer: Tokenizer) -> int:
    """Return what `text` weighs on its own: its tokens, or its characters where they weigh more."""
    return max(tokenizer.count(text), -(-len(text) // CHARACTERS_PER_TOKEN))


class TokenRuler:
    """Cumulative token weights of a document, each block tokenised once.

    Sums over spans that start and end at white space are those of the tokenizer, for tokenizers that
    split there first (BERT's); for others they are an estimate, which callers check.
    """

    def __init__(self, text: str, blocks: Iterable[Block], tokenizer: Tokenizer) -> None:
        self._starts: list[int] = []
        self._sums: list[int] = [0]
        for block in blocks:
            begin, end = block.span.start, block.span.end
            done = begin
            for token in tokenizer.offsets(text[begin:end]):
                self._append(begin + token.start, begin + token.end - done)
                done = max(done, begin + token.end)
            if end - done > CHARACTERS_PER_TOKEN or done == begin:
                self._append(done, end - done)

    def weight(self, start: int, end: int) -> int:
        """Return the weight of the tokens that start in `[start, end)`."""
        return self._sum_before(end) - self._sum_before(start)

    def weigh(self, span: Span) -> int:
        """Return the weight of the tokens that start in `span`."""
        return self.weight(span.start, span.end)

    def forward(self, start: int, weight: int) -> int:
        """Return the furthest token start `p > start` with `weight(start, p) <= weight`."""
        index = bisect_right(self._sums, self._sum_before(start) + weight) - 1
        reach = start + CHARACTERS_PER_TOKEN * max(weight, 1)
        position = self._starts[index] if index < len(self._starts) else reach
        return min(position, reach) if position > start else reach

    def backward(self, end: int, weight: int) -> int:
        """Return the earliest token start `p` with `weight(p, end) <= weight`; `end` where there is none."""
        index = bisect_left(self._sums, self._sum_before(end) - weight)
        return min(self._starts[index], end) if index < len(self._starts) else end

    def _append(self, start: int, characters: int) -> None:
        self._starts.append(start)
        self._sums.append(self._sums[-1] + max(1, -(-characters // CHARACTERS_PER_TOKEN)))

    def _sum_before(self, position: int) -> int:
        return self._sums[bisect_left(self._starts, position)]


def fit(span: Span, text: str, tokenizer: Tokenizer, max_tokens: int) -> list[tuple[Span, int]]:
    """Return `span` with its exact token count, in as many pieces as `max_tokens` asks for.

    Raises `ValueError` where a single character has more tokens than that.
    """
    piece = text[span.start : span.end]
    count = tokenizer.count(piece)
    if count <= max_tokens and len(piece) <= CHARACTERS_PER_TOKEN * max_tokens:
        return [(span, count)]
    if len(piece) == 1:
        raise ValueError(f"one character has {count} tokens")
    middle = _middle(piece, tokenizer)
    halves = (piece[:middle], piece[middle:])
    pieces: list[tuple[Span, int]] = []
    for half, begin in zip(halves, (span.start, span.start + middle), strict=True):
        start = begin + len(half) - len(half.lstrip())
        end = begin + len(half.rstrip())
        if start < end:
            pieces += fit(Span(start, end), text, tokenizer, max_tokens)
    return pieces


def _middle(piece: str, tokenizer: Tokenizer) -> int:
    """Return where to halve `piece`: between two words near its middle, else between two tokens."""
    half, quarter = len(piece) // 2, len(piece) // 4
    for space in (" ", "\n"):
        position = piece.rfind(space, quarter, half + quarter)
        if position > 0:
            return position
    cuts = [after.start for before, after in pairwise(tokenizer.offsets(piece)) if after.start > before.start]
    inner = [cut for cut in cuts if quarter <= cut <= half + quarter and cut > 0]
    return min(inner, key=lambda cut: abs(cut - half), default=max(half, 1))
