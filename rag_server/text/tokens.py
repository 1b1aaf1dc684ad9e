"""Splits a text into words, numbers and codes, and says where each stands.

A token is a run of letters and digits (with their combining marks) of a script that separates its
words, or one character of a script that does not (Han, kana, Thai, Lao, Khmer, Burmese): the word
boundaries of Unicode Standard Annex 29 as far as they need no dictionary, with one addition. Runs
joined by `-`, `.`, `/` or `_` of which one has a digit are a *code* and stay whole: `DTE-33`,
`0043-B`, `3.14`, `2026-11-21`, `v1.2.3` mean nothing in parts. A run of five letters or more is a
word even there, so that `19th-century` is found by `century` and `COVID-19` by `covid`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from enum import StrEnum

from rag_server.domain.document import Span


class TokenKind(StrEnum):
    """What a token is made of."""

    WORD = "word"
    NUMBER = "number"
    CODE = "code"


def _combining_marks() -> str:
    """Return the marks of all scripts as the inside of a character class."""
    marks = [c for c in range(0x300, 0x1F000) if unicodedata.category(chr(c)).startswith("M")]
    starts = [c for c, before in zip(marks, [-1, *marks], strict=False) if c != before + 1]
    ends = [c for c, after in zip(marks, [*marks[1:], -1], strict=True) if c != after - 1]
    return "".join(f"{chr(a)}-{chr(b)}" for a, b in zip(starts, ends, strict=True))


INVISIBLE = "\u00ad\u200c\u200d\u2060"
"""Soft hyphen, joiners: they stand inside words and are no part of them."""

# Han with its extensions, kana (but the long Katakana runs are words), Thai, Lao, Burmese, Khmer.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u309f"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
)
_MARK = _combining_marks() + INVISIBLE
_LETTER = rf"[^\W_{_UNSPACED}]"
# Possessive, so that no input makes the matcher go back.
_RUN = rf"{_LETTER}++(?:[{_MARK}]++{_LETTER}*+)*+"
_JOINER = r"[-./_\u2010\u2011]"
_TOKEN = re.compile(
    rf"(?<!\w)[A-Za-z](?:\+\+|\#)(?!\w)"  # C++, C#
    rf"|{_RUN}(?:(?:{_JOINER}|(?<=\d),(?=\d)){_RUN})*+"
    rf"|[{_UNSPACED}](?<=\w)[{_MARK}]*+"
)
_PART = re.compile(rf"(?<!\w)[A-Za-z](?:\+\+|\#)(?!\w)|[{_UNSPACED}][{_MARK}]*+|{_RUN}")
_LONG_WORD = re.compile(rf"(?:^|(?<={_JOINER}))(?:(?!\d)(?:{_LETTER}|[{_MARK}])){{5,}}+(?={_JOINER}|$)")
_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_JOINED = re.compile(rf"{_JOINER}|,")
_EDGES = re.compile(rf"^{_JOINER}+|{_JOINER}+$")


def runs(text: str) -> list[str]:
    """Return the tokens of `text` in order, those that `split_run` may still split left in one piece."""
    return _TOKEN.findall(text)


def split_run(run: str) -> list[Span]:
    """Return the spans of the tokens within `run`, one of the strings that `runs` returned."""
    if _JOINED.search(run) is None:
        return [Span(0, len(run))]
    if _DIGIT.search(run) is None:
        return [Span(*part.span()) for part in _PART.finditer(run)]
    spans: list[Span] = []
    position = 0
    for word in _LONG_WORD.finditer(run):
        spans += _split_code(run, position, word.start())
        spans.append(Span(*word.span()))
        position = word.end()
    return spans + _split_code(run, position, len(run))


def _split_code(run: str, start: int, end: int) -> list[Span]:
    """Return what lies between two long words: one code, or words where it has no digit."""
    piece = run[start:end]
    leading = len(piece) - len(piece.lstrip("-./_,\u2010\u2011"))
    trimmed = _EDGES.sub("", piece)
    if not trimmed:
        return []
    first = start + leading
    if _DIGIT.search(trimmed):
        return [Span(first, first + len(trimmed))]
    return [Span(first + m.start(), first + m.end()) for m in _PART.finditer(trimmed)]


def kind_of(surface: str) -> TokenKind:
    """Return the kind of a token."""
    if _NUMBER.fullmatch(surface):
        return TokenKind.NUMBER
    if _DIGIT.search(surface) or surface.endswith(("+", "#")):
        return TokenKind.CODE
    return TokenKind.WORD


def iterate_tokens(text: str) -> Iterator[Span]:
    """Yield the span of every token of `text`, in order, not overlapping."""
    for match in _TOKEN.finditer(text):
        for span in split_run(match.group()):
            yield Span(match.start() + span.start, match.start() + span.end)
