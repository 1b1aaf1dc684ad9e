"""What readers see of a collection in memory: one state after the other, each immutable.

A writer makes the next state beside the current one and puts it in its place with one assignment, so a
reader that began with a state keeps it, and never sees half of a change.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter

import numpy as np

from rag_server.domain.filter import Membership
from rag_server.query.resident import dense
from rag_server.query.resident.dense import DenseSegment
from rag_server.query.resident.filter_mask import matching
from rag_server.query.resident.segment import Mask, Segment
from rag_server.query.resident.statistics import TermStatistics
from rag_server.query.resident.vocabulary import Vocabulary

_BASE = attrgetter("base")


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A segment within a state."""

    segment: Segment
    base: int
    """Position of its first row: a position is `base + row`."""
    alive: Mask | None
    """None: every row lives."""
    alive_count: int

    def dense(self, mask: Mask | None, count: int) -> DenseSegment:
        """Return what the dense leg searches: the rows of `mask`, `count` of them."""
        segment = self.segment
        return DenseSegment(self.base, segment.vectors, segment.graph, mask, count, segment.codes)


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """A collection at one revision."""

    revision: int
    parts: tuple[Part, ...]
    statistics: TermStatistics
    """Of the living rows."""
    vocabulary: Vocabulary = field(repr=False)
    """Shared by all states: it only grows."""

    @classmethod
    def empty(cls, revision: int = 0) -> State:
        """Return a state without passages."""
        return cls(revision, (), TermStatistics.empty(), Vocabulary())

    @property
    def alive_count(self) -> int:
        """Passages that readers see."""
        return sum(part.alive_count for part in self.parts)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        masks = sum(part.alive.nbytes for part in self.parts if part.alive is not None)
        segments = sum(part.segment.nbytes for part in self.parts)
        return segments + masks + self.statistics.nbytes + self.vocabulary.nbytes

    @property
    def dense_method(self) -> str:
        """How vectors are searched, as `dense.method` says."""
        return dense.method([part.dense(part.alive, part.alive_count) for part in self.parts])

    def part_of(self, position: int) -> Part:
        """Return the part that a position lies in."""
        return self.parts[bisect_right(self.parts, position, key=_BASE) - 1]

    def with_segment(self, segment: Segment) -> State:
        """Return the state with one more segment, all of it alive."""
        if not len(segment):
            return self
        base = self.parts[-1].base + len(self.parts[-1].segment) if self.parts else 0
        part = Part(segment, base, None, len(segment))
        return replace(
            self, parts=(*self.parts, part), statistics=self.statistics.plus(segment.postings, None)
        )

    def without_documents(self, document_ids: Collection[str]) -> State:
        """Return the state without the passages of some documents. O(documents + passages that die)."""
        if not document_ids:
            return self
        wanted = Membership("document_id", tuple(document_ids))
        statistics = self.statistics
        parts = []
        for part in self.parts:
            documents = matching(part.segment.documents.columns, wanted)
            if documents.any():
                dead = documents[part.segment.row_documents]
                alive = ~dead if part.alive is None else part.alive & ~dead
                rows = np.flatnonzero(dead if part.alive is None else part.alive & dead)
                statistics = statistics.minus(part.segment.postings, rows)
                part = replace(part, alive=alive, alive_count=part.alive_count - len(rows))  # noqa: PLW2901
            parts.append(part)
        return replace(self, statistics=statistics, parts=_numbered(parts))

    def with_merged(self, old: Iterable[str], merged: Segment, alive: Mask | None) -> State:
        """Return the state with `merged` in the place of the segments whose ids are `old`.

        The passages are the same, so are the statistics.
        """
        gone = set(old)
        count = len(merged) if alive is None else int(np.count_nonzero(alive))
        kept = [part for part in self.parts if part.segment.id not in gone]
        place = next((at for at, part in enumerate(self.parts) if part.segment.id in gone), len(kept))
        return replace(self, parts=_numbered([*kept[:place], Part(merged, 0, alive, count), *kept[place:]]))

    def with_renewed(self, segment: Segment) -> State:
        """Return the state with `segment` in the place of the one with its id, which has the same rows."""
        parts = tuple(
            replace(part, segment=segment) if part.segment.id == segment.id else part for part in self.parts
        )
        return replace(self, parts=parts)


def _numbered(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Give the parts that have living rows their positions, one after the other."""
    numbered = []
    base = 0
    for part in parts:
        if part.alive_count:
            numbered.append(replace(part, base=base))
            base += len(part.segment)
    return tuple(numbered)
