"""A ruler along a document: how many tokens lie between two positions, without tokenising again."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from rag_server.backends.protocols import Offsets, Tokenizer
from rag_server.domain.document import Block, Span

CHARACTERS_PER_TOKEN = 16
"""A token weighs one more for each so many characters, the gap before it included.

Text has 3 to 6 characters to a token. Without this bound a megabyte that the model reads as a single
unknown word, or a megabyte of spaces, would be one chunk.
"""
SLICE_CHARACTERS = 16_384
"""Tokenised at a time: a tokenizer holds the interpreter's lock, and some 500 bytes per token, that long."""


def weight_of(text: str, tokenizer: Tokenizer) -> int:
    """Return what `text` weighs on its own: its tokens, or its characters where they weigh more."""
    return max(tokenizer.count(text), -(-len(text) // CHARACTERS_PER_TOKEN))


class TokenRuler:
    """Cumulative token weights of a document, each block tokenised once, in slices; 8 bytes per token.

    Sums over spans that start and end at white space are those of the tokenizer, for tokenizers that
    split there first (BERT's); for others, and within a run of more than `SLICE_CHARACTERS` without any
    white space, they are an estimate, which callers check (see `fit`).
    """

    def __init__(self, text: str, blocks: Iterable[Block], tokenizer: Tokenizer) -> None:
        self._starts = array("i")
        self._sums = array("i", [0])
        for block in blocks:
            begin, end = block.span.start, block.span.end
            done = begin
            for start, stop in slices(text, begin, end):
                done = self._extend(start, tokenizer.offsets(text[start:stop]), done)
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

    def _extend(self, begin: int, offsets: Offsets, done: int) -> int:
        """Add the tokens of the slice at `begin`; all up to `done` is weighed. Return the new `done`."""
        starts, ends = offsets.T + np.int32(begin)
        weighed = np.maximum.accumulate(np.append(np.int32(done), ends))
        weights = np.maximum(1, -(-(ends - weighed[:-1]) // CHARACTERS_PER_TOKEN))
        self._starts.frombytes(starts.astype(np.intc).tobytes())
        self._sums.frombytes((self._sums[-1] + np.cumsum(weights)).astype(np.intc).tobytes())
        return int(weighed[-1])

    def _append(self, start: int, characters: int) -> None:
        self._starts.append(start)
        self._sums.append(self._sums[-1] + max(1, -(-characters // CHARACTERS_PER_TOKEN)))

    def _sum_before(self, position: int) -> int:
        return self._sums[bisect_left(self._starts, position)]


def slices(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield consecutive ranges that make up `[start, end)`, each of 1 to `SLICE_CHARACTERS` characters.

    They are cut before white space, and anywhere in a run of text that has none for a quarter of a slice.
    """
    while end - start > SLICE_CHARACTERS:
        limit = start + SLICE_CHARACTERS
        earliest = limit - SLICE_CHARACTERS // 4
        cut = max(text.rfind(space, earliest, limit) for space in " \n\t")
        stop = cut if cut > 0 else limit
        yield start, stop
        start = stop
    if start < end:
        yield start, end


class Piece(NamedTuple):
    """A range of a text, what it repeats in front, and the tokens of both together."""

    span: Span
    prefix: str
    token_count: int


def fit(
    span: Span,
    text: str,
    tokenizer: Tokenizer,
    max_tokens: int,
    prefix_at: Callable[[int], str] = lambda start: "",
) -> list[Piece]:
    """Return `span` with its exact token count, in as many pieces as `max_tokens` asks for.

    `prefix_at` returns what a piece that starts at a position repeats in front of it; a piece that no longer
    fits with it, however short, goes without. Raises `ValueError` where a single character has more tokens
    than `max_tokens`.
    """
    piece = text[span.start : span.end]
    prefix = prefix_at(span.start)
    if len(prefix) + len(piece) <= CHARACTERS_PER_TOKEN * max_tokens:
        count = tokenizer.count(prefix + piece)
        if count <= max_tokens:
            return [Piece(span, prefix, count)]
        if len(piece) == 1 and not prefix:
            raise ValueError(f"one character has {count} tokens")
    if len(piece) == 1:
        return fit(span, text, tokenizer, max_tokens)
    middle = _middle(piece, tokenizer)
    halves = (piece[:middle], piece[middle:])
    pieces: list[Piece] = []
    for half, begin in zip(halves, (span.start, span.start + middle), strict=True):
        start = begin + len(half) - len(half.lstrip())
        end = begin + len(half.rstrip())
        if start < end:
            pieces += fit(Span(start, end), text, tokenizer, max_tokens, prefix_at)
    return pieces


def _middle(piece: str, tokenizer: Tokenizer) -> int:
    """Return where to halve `piece`: between two words near its middle, else between two tokens."""
    half, quarter = len(piece) // 2, len(piece) // 4
    for space in (" ", "\n"):
        position = piece.rfind(space, quarter, half + quarter)
        if position > 0:
            return position
    begin = max(half - SLICE_CHARACTERS // 2, 0)
    starts = tokenizer.offsets(piece[begin : half + SLICE_CHARACTERS // 2])[:, 0]
    cuts = (starts[1:][np.diff(starts) > 0] + begin).tolist()
    inner = [cut for cut in cuts if max(quarter, 1) <= cut <= half + quarter]
    return min(inner, key=lambda cut: abs(cut - half), default=max(half, 1))
