"""The size of a filter: at most 16 levels and 256 nodes.

Both are found without recursion and before the tree is walked by anything else, so that no filter
that a caller can send costs more than counting 257 nodes of it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from rag.v1 import filter_pb2

MAX_DEPTH: Final = 16
"""Levels: a filter without children has one."""

MAX_NODES: Final = 256
"""Filters at all levels plus the values of all memberships."""


class Excess(NamedTuple):
    """Which limit a filter exceeds."""

    reason: str
    description: str


_TOO_DEEP: Final = Excess("FILTER_TOO_DEEP", f"has more than {MAX_DEPTH} levels")
_TOO_LARGE: Final = Excess(
    "FILTER_TOO_LARGE", f"has more than {MAX_NODES} nodes, values of memberships included"
)


def excess_of(root: filter_pb2.Filter) -> Excess | None:
    """Return the limit that the tree under `root` exceeds, the first one met level by level."""
    nodes = 1
    level = [root]
    for _ in range(MAX_DEPTH):
        children: list[filter_pb2.Filter] = []
        for node in level:
            if node.HasField("boolean"):
                lists = (node.boolean.must, node.boolean.should, node.boolean.must_not)
                nodes += sum(map(len, lists))
                if nodes > MAX_NODES:
                    return _TOO_LARGE
                for conditions in lists:
                    children.extend(conditions)
            elif node.HasField("membership"):
                nodes += len(node.membership.values)
                if nodes > MAX_NODES:
                    return _TOO_LARGE
        if not children:
            return None
        level = children
    return _TOO_DEEP
