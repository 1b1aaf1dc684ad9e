"""Masks what filters find in sources, each sign by one other sign, so that spans into them stay right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from rag_server.domain.document import Chunk
from rag_server.domain.metadata import MetadataValue
from rag_server.domain.retrieval import ScoredChunk
from rag_server.generation.filters.filter import Filter

SIGN: Final = "•"


def masked(
    sources: Sequence[ScoredChunk], filters: Sequence[Filter]
) -> tuple[tuple[ScoredChunk, ...], Counter[tuple[str, str]]]:
    """Return the sources with their context and titles masked, and how often each kind was. Blocks."""
    counts: Counter[tuple[str, str]] = Counter()

    def of_value(value: MetadataValue) -> MetadataValue:
        if isinstance(value, str):
            return _masked(value, filters, counts)
        if isinstance(value, tuple):
            return tuple(_masked(each, filters, counts) for each in value)
        return value

    def of_chunk(chunk: Chunk) -> Chunk:
        return replace(
            chunk,
            text=_masked(chunk.text, filters, counts),
            title=_masked(chunk.title, filters, counts),
            heading_path=tuple(_masked(each, filters, counts) for each in chunk.heading_path),
            metadata={name: of_value(value) for name, value in chunk.metadata.items()},
        )

    made = tuple(
        replace(
            source,
            chunk=of_chunk(source.chunk),
            context_before=tuple(map(of_chunk, source.context_before)),
            context_after=tuple(map(of_chunk, source.context_after)),
        )
        for source in sources
    )
    return made, counts


def _masked(text: str, filters: Sequence[Filter], counts: Counter[tuple[str, str]]) -> str:
    for each in filters:
        for found in each.find(text):
            counts[each.name, found.kind] += 1
            text = text[: found.start] + SIGN * (found.end - found.start) + text[found.end :]
    return text
