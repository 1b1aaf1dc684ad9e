"""From a span of a parsed document to a `ChunkDraft`: text with repeated header rows, pages, boxes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable

from ingest_worker.chunk.chunk_boxes import boxes_of
from rag_server.domain.document import ChunkDraft, ParsedDocument, Span

OnChunk = Callable[[], None]
"""Called once for about each chunk while they are made; what it raises ends the work."""


def ignore() -> None:
    """Listen to nothing: an `OnChunk`."""


class DraftMaker:
    """Makes the drafts of one document."""

    def __init__(self, parsed: ParsedDocument) -> None:
        self._parsed = parsed
        self._starts = [block.span.start for block in parsed.blocks]

    def make(
        self, span: Span, heading_path: tuple[str, ...], token_count: int, prefix: str = ""
    ) -> ChunkDraft:
        """Return the draft at `span`, with the pages of the first and the last block that it touches.

        `token_count` is that of the text with `prefix`, the header rows that it repeats.
        """
        first = max(bisect_right(self._starts, span.start) - 1, 0)
        last = max(bisect_left(self._starts, span.end) - 1, first)
        places = self._parsed.places
        return ChunkDraft(
            text=prefix + self._parsed.text[span.start : span.end],
            span=span,
            heading_path=heading_path,
            token_count=token_count,
            page_start=self._parsed.blocks[first].page,
            page_end=self._parsed.blocks[last].page,
            prefix=prefix,
            boxes=() if places is None else boxes_of(places, span),
        )
