"""Which segments to merge, so that there are always few of them.

Tiered merging, as in log-structured merge trees (O'Neil et al., 1996): segments of about the same size are
merged once there are several, so each passage is copied O(log n) times, and a search meets O(log n) segments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from rag_server.query.resident.segment import Mask, Segment, merge
from rag_server.query.resident.state import Part, State

_FAN_IN: Final = 4
"""Segments of one size that are merged."""
_SMALLEST_ROWS: Final = 512
"""Segments below this are of one size."""
_AT_ONCE: Final = 12
"""Segments of the smallest size that are merged by whoever adds one more: upkeep may be busy for minutes,
with the graph of another collection, and every segment costs a search about 0.1 ms."""
_DEAD_SHARE: Final = 0.3
"""A segment with more dead rows than this is written anew."""


def choose_merge(state: State) -> tuple[Part, ...]:
    """Return the parts to make one segment of; empty: all is well. O(parts)."""
    for part in state.parts:
        if part.alive_count < (1 - _DEAD_SHARE) * len(part.segment):
            return (part,)
    tiers: dict[int, list[Part]] = {}
    for part in state.parts:
        tiers.setdefault(_tier(part.alive_count), []).append(part)
    for tier in sorted(tiers):
        if len(tiers[tier]) >= _FAN_IN:
            return tuple(tiers[tier])
    return ()


def choose_unindexed(state: State) -> Segment | None:
    """Return a segment that lacks the codes or the graph that its size asks for."""
    return next((part.segment for part in state.parts if not part.segment.is_indexed), None)


def merge_parts(parts: Sequence[Part], should_stop: Callable[[], bool]) -> Segment | None:
    """Return one segment, indexed, of the rows that live in `parts`. Blocks. None: it was stopped."""
    return merge([(part.segment, part.alive) for part in parts]).indexed(should_stop)


def with_small_merged(state: State) -> State:
    """Return `state` with one segment in the place of the small ones, if these are many. Blocks, for ms."""
    parts = [part for part in state.parts if len(part.segment) < _SMALLEST_ROWS]
    if len(parts) < _AT_ONCE:
        return state
    merged = merge([(part.segment, part.alive) for part in parts])
    return state.with_merged([part.segment.id for part in parts], merged, None)


def rows_alive(state: State, old: Sequence[Part]) -> Mask | None:
    """Return which of the rows that lived in `old` live still in `state`; None: all of them."""
    now = {part.segment.id: part for part in state.parts}
    masks = []
    for part in old:
        current = now.get(part.segment.id)
        if current is None:
            alive = np.zeros(len(part.segment), np.bool_)
        elif current.alive is None:
            alive = np.ones(len(part.segment), np.bool_)
        else:
            alive = current.alive
        masks.append(alive if part.alive is None else alive[part.alive])
    mask = np.concatenate(masks)
    return None if mask.all() else mask


def _tier(rows: int) -> int:
    return 0 if rows < _SMALLEST_ROWS else 1 + int(math.log(rows / _SMALLEST_ROWS, _FAN_IN))
