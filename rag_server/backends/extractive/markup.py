"""Which parts of a Markdown passage are no prose: fenced code, and the heads of tables.

CommonMark 0.31, section 4.5 (fenced code blocks); GitHub Flavored Markdown, section 4.10 (tables).
"""

from __future__ import annotations

import re

from rag_server.domain.document import Span

_FENCE = re.compile(r"^ {0,3}(?:```+|~~~+)(.*)$", re.MULTILINE)
_TABLE_HEAD = re.compile(r"^[^\n|]*\|[^\n]*\n {0,3}\|?[ :|-]*-[ :|-]*$", re.MULTILINE)


def markup_spans(text: str) -> list[Span]:
    """Return the spans of `text` that hold fenced code or the head of a table, in order of their kind.

    A passage may begin or end in the middle of a block: a first fence without a language, when their
    number is odd, closes a block whose beginning the passage does not show.
    """
    heads = _TABLE_HEAD.finditer(text) if "|" in text else ()  # most passages have none
    return [*_fenced(text), *(Span(*match.span()) for match in heads)]


def _fenced(text: str) -> list[Span]:
    fences = list(_FENCE.finditer(text))
    edges = [match.start() for match in fences]
    if len(edges) % 2:
        begins_inside = not fences[0][1].strip()
        edges = [0, *edges] if begins_inside else [*edges, len(text)]
    return [Span(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True)]
