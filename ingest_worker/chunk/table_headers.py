"""Header rows of tables, which every chunk that begins below them repeats: a row alone says too little."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable

from ingest_worker.parse.markdown_table import header_end
from rag_server.domain.document import BlockKind, ParsedDocument, Span

_NAMED = re.compile(r"\w")
"""In a header that says something: a table may have a blank one."""
_MAX_SHARE = 0.5
"""Of a chunk. A header that takes more is not repeated: the rows would be cut to pieces for it."""


class TableHeaders:
    """The headers of the tables of one document that leave room for rows.

    `weigh` returns the size of a text in the unit of `limit`, which is that of a whole chunk.
    """

    def __init__(self, parsed: ParsedDocument, weigh: Callable[[str], int], limit: int) -> None:
        self._text = parsed.text
        self._bodies: list[Span] = []
        self._headers: list[Span] = []
        self._weights: list[int] = []
        for block in parsed.blocks:
            if block.kind is not BlockKind.TABLE:
                continue
            start = block.span.start
            body = start + header_end(parsed.text[start : block.span.end])
            if body == start:
                continue
            header = parsed.text[start:body]
            weight = weigh(header) if _NAMED.search(header) else 0
            self._bodies.append(Span(body, block.span.end))
            self._headers.append(Span(start, body))
            self._weights.append(weight if weight <= _MAX_SHARE * limit else 0)

    def at(self, position: int) -> str:
        """Return the header, line ends included, that a chunk from `position` on repeats, or nothing."""
        index = self._index(position)
        if index is None or not self._weights[index]:
            return ""
        return self._text[self._headers[index].start : self._headers[index].end]

    def weight_at(self, position: int) -> int:
        """Return what the header at `position` weighs, 0 where there is none."""
        index = self._index(position)
        return 0 if index is None else self._weights[index]

    def is_row(self, position: int) -> bool:
        """Whether `position` lies in a table, below its header."""
        return self._index(position) is not None

    def is_parted_at(self, position: int) -> bool:
        """Whether a cut at `position` would part a row, or a header from itself or from its rows."""
        index = bisect_right(self._headers, position, key=lambda header: header.start) - 1
        if index < 0 or position >= self._bodies[index].end:
            return False
        return position < self._bodies[index].start or self._text[position] != "\n"

    def _index(self, position: int) -> int | None:
        index = bisect_right(self._bodies, position, key=lambda body: body.start) - 1
        return index if index >= 0 and position < self._bodies[index].end else None
