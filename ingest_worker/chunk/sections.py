"""Sections: the blocks under one heading, and the headings above them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ingest_worker.parse.markdown import heading_text
from rag_server.domain.document import Block, BlockKind, ParsedDocument, Span

MAX_HEADING_CHARACTERS = 200
"""A longer heading is cut in the heading path; its whole text stays in the passage."""
_TINY_SHARE = 0.25
"""A section of less than this share of a chunk is merged with its neighbour."""


@dataclass(frozen=True, slots=True)
class Section:
    """Consecutive blocks with the same headings above them; the first may be a heading itself."""

    path: tuple[str, ...]
    blocks: tuple[Block, ...]

    @property
    def span(self) -> Span:
        """From the start of the first block to the end of the last."""
        return Span(self.blocks[0].span.start, self.blocks[-1].span.end)


def sections_of(parsed: ParsedDocument) -> list[Section]:
    """Return the sections of `parsed` in order; every block is in exactly one."""
    sections: list[Section] = []
    above: list[tuple[int, str]] = []
    blocks: list[Block] = []
    for block in parsed.blocks:
        if block.kind is BlockKind.HEADING:
            if blocks:
                sections.append(Section(_path(above), tuple(blocks)))
                blocks = []
            while above and above[-1][0] >= block.level:
                above.pop()
            said = heading_text(parsed.text[block.span.start : block.span.end])
            above.append((block.level, said[:MAX_HEADING_CHARACTERS]))
        blocks.append(block)
    if blocks:
        sections.append(Section(_path(above), tuple(blocks)))
    return sections


def merge_tiny_sections(
    sections: list[Section], weigh: Callable[[Span], int], max_weight: int
) -> list[Section]:
    """Merge tiny sections with the next one where both hang on the same parent, or one on the other.

    The path of a merged section is what its parts have in common; their own headings stay in the text.
    A merged section weighs at most `max_weight`.
    """
    merged: list[Section] = []
    for section in sections:
        if merged and (joined := _joined(merged[-1], section)) is not None:
            lighter = min(weigh(merged[-1].span), weigh(section.span))
            if lighter < _TINY_SHARE * max_weight and weigh(joined.span) <= max_weight:
                merged[-1] = joined
                continue
        merged.append(section)
    return merged


def _joined(one: Section, other: Section) -> Section | None:
    common = 0
    for name, other_name in zip(one.path, other.path, strict=False):
        if name != other_name:
            break
        common += 1
    if common < max(len(one.path), len(other.path)) - 1:
        return None
    return Section(one.path[:common], one.blocks + other.blocks)


def _path(above: list[tuple[int, str]]) -> tuple[str, ...]:
    return tuple(said for _, said in above if said)
