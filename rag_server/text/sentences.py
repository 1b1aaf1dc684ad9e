"""Finds the sentences of a text, for Spanish and English prose, lists and Markdown.

Rules in two steps, no training: lines are gathered into blocks (a paragraph, a heading, a list
item, a table row), then blocks are cut at closing punctuation that is not part of an abbreviation,
an initial or a number. The idea of frequent sentence starters, which decide after an initial or an
acronym, is that of Kiss and Strunk, "Unsupervised Multilingual Sentence Boundary Detection", 2006.
"""

from __future__ import annotations

import re
from itertools import pairwise

from rag_server.domain.document import Span
from rag_server.text.stop_words import ENGLISH, SPANISH, word_set

_NEVER_LAST = word_set(
    """
    mr mrs ms dr prof st sr sra srta sres dra ing lic gral cnel tte mons fr rev gen col sgt capt lt
    hon gov sen vs cf p.ej ej e.g i.e approx aprox av avda depto dpto ee ff rr jj eds
    """
)
"""Abbreviations that something always follows; compared in lower case without the last dot."""

_BEFORE_NUMBER = word_set(
    """
    no nos núm num nº nro art arts pág pags págs pp p fig figs cap caps vol vols ed sec secc eq ref tel ca
    jan feb mar apr jun jul aug sep sept oct nov dec ene abr ago dic
    """
)
"""Words and abbreviations that a number follows; before anything else the dot ends the sentence."""

_STARTERS = frozenset(word for word in ENGLISH | SPANISH if len(word) > 1)

_END = re.compile(
    r"""(?P<mark>[.!?…]+)(?:\[\w{1,3}\])*[)\]"'”’»]*(?:\[\w{1,3}\])*(?=\s|$)|[。！？।؟]+[”」』)]*""",
    re.VERBOSE,
)
_LAST_WORD = re.compile(r"[\w./]*\w$")
_OPENING = re.compile(r"[\s(\[\"'“‘«¿¡*_—–-]*")
_NEXT_WORD = re.compile(r"\w+")
_ACRONYM = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_NUMBERING = re.compile(r"[ \t]*(?:\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})[.)]+)$")

_BULLET = re.compile(r"[ \t>]*(?:[-*+•‣▪◦·–][ \t]+|\(?(?:\d{1,3}|[a-z])[.)][ \t]+)(?=\S)")
_HEADING = re.compile(r"[ \t]*#{1,6}[ \t]")
_TABLE = re.compile(r"[ \t]*\|")
_FENCE = re.compile(r"[ \t]*(?:```|~~~)")
_RULE = re.compile(r"[ \t]*[-=*_]{3,}[ \t]*$")
_LINE = re.compile(r"[^\n]*\n?")

_LONGEST_ABBREVIATION = 40
"""Characters that are looked back for the word before a dot."""

_SHORT_LINE = 0.6
"""A line shorter than this share of its paragraph's longest was not wrapped: it ended there."""

_NARROWEST_COLUMN = 30
"""Nor was one of fewer characters: nobody sets prose so narrow, while lists and forms are."""


def split_sentences(text: str) -> list[Span]:
    """Return the spans of the sentences of `text`, in order, without surrounding white space.

    List markers are left out of the spans; a Markdown heading keeps its `#`, and a table row or a
    line of fenced code is a span of its own.
    """
    return [span for block in _blocks(text) for span in _cut(text, block)]


def _blocks(text: str) -> list[Span]:
    """Group lines: a blank line, a marker or a line that was not wrapped separates blocks."""
    blocks: list[Span] = []
    paragraph: list[Span] = []
    in_code = False

    def flush() -> None:
        blocks.extend(_unwrap(text, paragraph))
        paragraph.clear()

    for match in _LINE.finditer(text):
        line = match.group()
        span = Span(*match.span())
        if _FENCE.match(line):
            flush()
            in_code = not in_code
        elif not line.strip() or _RULE.match(line):
            flush()
        elif in_code or _HEADING.match(line) or _TABLE.match(line):
            flush()
            blocks.append(span)
        elif bullet := _BULLET.match(line):
            flush()
            paragraph.append(Span(span.start + bullet.end(), span.end))
        else:
            paragraph.append(span)
    flush()
    return blocks


def _unwrap(text: str, lines: list[Span]) -> list[Span]:
    """Join the lines of a paragraph, except after one that is short and followed by a new start."""
    if not lines:
        return []
    longest = max(line.end - line.start for line in lines)
    full = max(_SHORT_LINE * longest, _NARROWEST_COLUMN)
    blocks = [lines[0]]
    for before, line in pairwise(lines):
        starts_anew = not text[line.start : line.end].lstrip()[:1].islower()
        if starts_anew and before.end - before.start < full:
            blocks.append(line)
        else:
            blocks[-1] = Span(blocks[-1].start, line.end)
    return blocks


def _cut(text: str, block: Span) -> list[Span]:
    sentences: list[Span] = []
    start = block.start
    for match in _END.finditer(text, block.start, block.end):
        if match["mark"] is None or _ends_sentence(text, start, match, block.end):
            _append(sentences, text, start, match.end())
            start = match.end()
    _append(sentences, text, start, block.end)
    return sentences


def _append(sentences: list[Span], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    stripped = piece.strip()
    if stripped:
        first = start + len(piece) - len(piece.lstrip())
        sentences.append(Span(first, first + len(stripped)))


def _ends_sentence(text: str, start: int, match: re.Match[str], end: int) -> bool:
    """Decide whether closing punctuation at `match` ends the sentence that began at `start`."""
    opening = _OPENING.match(text, match.end(), end)
    position = opening.end() if opening else match.end()
    following = text[position : position + 1] if position < end else ""
    if not following:
        return True
    if following.islower():
        return False
    return match["mark"] != "." or not _is_inner_dot(text, start, match.start(), position, end)


def _is_inner_dot(text: str, start: int, dot: int, position: int, end: int) -> bool:
    """Whether the dot at `dot` belongs to the word before it; the next word starts at `position`."""
    if _NUMBERING.fullmatch(text, start, dot + 1):
        return True
    before = _LAST_WORD.search(text, max(start, dot - _LONGEST_ABBREVIATION), dot)
    word = before.group() if before else ""
    if word.lower() in _NEVER_LAST:
        return True
    if word.lower() in _BEFORE_NUMBER:
        return text[position].isdigit()
    if not _ACRONYM.fullmatch(word):
        return False
    following = _NEXT_WORD.match(text, position, end)
    return following is None or following.group().lower() not in _STARTERS
