"""Tells code from prose in a stream of Markdown: `items[1]` in code is no marker.

Fenced blocks and code spans, after CommonMark 0.31, sections 4.5 and 6.1. Prose that is taken for code does
no harm beyond a marker that stays in the text, so that the containers of blocks are only guessed at. Each
place is decided by what follows within a bound: however the stream is cut, the result is the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

MAX_SPAN: Final = 256
"""Code points of a code span, or of a line with a fence, that are looked at."""

_RUN: Final = re.compile(r"`+|~{3,}")
_BACKTICKS: Final = re.compile(r"`+")
_UNFINISHED: Final = re.compile(r"(?:`+|~+)\Z")
_BLANK_LINE: Final = re.compile(r"\n[ \t]*\n")
_BEFORE_FENCE: Final = re.compile(r"[ \t>]*(?:(?:[-*+]|\d{1,3}[.)])[ \t]+)?")
_LONGEST_HEAD: Final = 32
_MIN_FENCE: Final = 3

_Step = tuple[int, bool]
"""How many code points come next, and whether they are code."""


class CodePiece(NamedTuple):
    """Some of the text."""

    text: str
    is_code: bool


class CodePieces:
    """Takes a text apart: `feed` it the pieces, then `end`."""

    def __init__(self) -> None:
        self._rest = ""
        self._fence = ""
        """What opened the block that the text is in; empty: none."""
        self._head = ""
        """The line before `_rest`, or as much of it as tells that no fence can begin here."""

    @property
    def is_in_block(self) -> bool:
        """Whether a block of code has begun and not ended."""
        return bool(self._fence)

    def feed(self, text: str) -> list[CodePiece]:
        """Return what can be told for sure."""
        self._rest += text
        return list(self._advance(at_end=False))

    def end(self) -> list[CodePiece]:
        """Return the rest: nothing more comes."""
        return list(self._advance(at_end=True))

    def _advance(self, *, at_end: bool) -> Iterator[CodePiece]:
        while self._rest:
            step = self._in_block(at_end) if self._fence else self._in_prose(at_end)
            if step is None:
                return
            count, is_code = step
            piece, self._rest = self._rest[:count], self._rest[count:]
            self._head = (self._head + piece).rpartition("\n")[2][: _LONGEST_HEAD + 1]
            yield CodePiece(piece, is_code)

    def _in_block(self, at_end: bool) -> _Step | None:
        """Return how much of the rest comes next, up to the end of a line; None: more has to be known."""
        end = self._rest.find("\n") + 1
        line = self._head + (self._rest[:end] or self._rest)
        bare = line.strip(" \t>\r\n")
        may_close = (
            len(self._head) <= _LONGEST_HEAD and len(line) <= MAX_SPAN and not bare.strip(self._fence[0])
        )
        if not end and not at_end and may_close and len(line) < MAX_SPAN:
            return None
        if may_close and len(bare) >= len(self._fence):
            self._fence = ""
        return end or len(self._rest), True

    def _in_prose(self, at_end: bool) -> _Step | None:
        run = _RUN.search(self._rest)
        if run is None:
            unfinished = None if at_end else _UNFINISHED.search(self._rest)
            count = unfinished.start() if unfinished else len(self._rest)
            return (count, False) if count else None
        if run.start():
            return run.start(), False
        if run.end() == len(self._rest) and not at_end:
            return None
        begins_line = len(self._head) <= _LONGEST_HEAD and _BEFORE_FENCE.fullmatch(self._head)
        if run.end() >= _MIN_FENCE and begins_line:
            line, newline, _ = self._rest[run.end() : MAX_SPAN].partition("\n")
            if "`" not in line or run.group()[0] == "~":
                return self._block(run.group(), line + newline, at_end)
        return (run.end(), False) if run.group()[0] == "~" else self._span(run.end(), at_end)

    def _block(self, fence: str, line: str, at_end: bool) -> _Step | None:
        """Begin a block, whose first line goes on with `line`."""
        if not line.endswith("\n") and not at_end and len(self._rest) < MAX_SPAN:
            return None
        self._fence = fence
        return len(fence) + len(line), True

    def _span(self, opened: int, at_end: bool) -> _Step | None:
        """Return the code span that a run of backticks opens, or these as prose where nothing closes it."""
        blank = _BLANK_LINE.search(self._rest, opened, MAX_SPAN)
        last = blank.start() if blank else min(len(self._rest), MAX_SPAN)
        for closing in _BACKTICKS.finditer(self._rest, opened, last):
            is_whole = at_end or closing.end() < len(self._rest)
            if is_whole and closing.end() - closing.start() == opened:
                return closing.end(), True
        is_known = at_end or blank is not None or len(self._rest) > MAX_SPAN
        return (opened, False) if is_known else None
