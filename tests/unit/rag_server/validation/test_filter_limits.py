from __future__ import annotations

import pytest

from rag.v1 import filter_pb2
from rag_server.validation.filter_limits import MAX_DEPTH, MAX_NODES, excess_of


def leaf() -> filter_pb2.Filter:
    return filter_pb2.Filter(exists=filter_pb2.ExistsFilter(field="media_type"))


def deep(levels: int, branch: str) -> filter_pb2.Filter:
    root = filter_pb2.Filter()
    node = root
    for _ in range(levels - 1):
        node = getattr(node.boolean, branch).add()
    node.exists.field = "media_type"
    return root


def membership(count: int) -> filter_pb2.Filter:
    node = filter_pb2.Filter()
    node.membership.field = "metadata.year"
    for index in range(count):
        node.membership.values.add().integer_value = index
    return node


@pytest.mark.parametrize("branch", ["must", "should", "must_not"])
@pytest.mark.parametrize("levels", [1, 2, MAX_DEPTH])
def test_depth_within_the_limit_passes(levels: int, branch: str) -> None:
    assert excess_of(deep(levels, branch)) is None


@pytest.mark.parametrize("branch", ["must", "should", "must_not"])
@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 90])
def test_depth_over_the_limit_is_too_deep(levels: int, branch: str) -> None:
    excess = excess_of(deep(levels, branch))

    assert excess is not None
    assert excess.reason == "FILTER_TOO_DEEP"
    assert excess.description == "has more than 16 levels"


def test_depth_far_beyond_the_interpreter_s_stack_is_too_deep() -> None:
    excess = excess_of(deep(20_000, "must"))

    assert excess is not None
    assert excess.reason == "FILTER_TOO_DEEP"


def test_nodes_of_all_lists_count() -> None:
    branches = {
        "must": [leaf() for _ in range(100)],
        "should": [leaf() for _ in range(100)],
        "must_not": [leaf() for _ in range(MAX_NODES - 201)],
    }
    root = filter_pb2.Filter(boolean=filter_pb2.BooleanFilter(**branches))
    assert excess_of(root) is None

    root.boolean.must_not.append(leaf())

    excess = excess_of(root)
    assert excess is not None
    assert excess.reason == "FILTER_TOO_LARGE"
    assert excess.description == "has more than 256 nodes, values of memberships included"


def test_values_of_a_membership_count() -> None:
    assert excess_of(membership(MAX_NODES - 1)) is None

    excess = excess_of(membership(MAX_NODES))

    assert excess is not None
    assert excess.reason == "FILTER_TOO_LARGE"


def test_values_of_several_memberships_count_together() -> None:
    within = filter_pb2.Filter(boolean=filter_pb2.BooleanFilter(must=[membership(126), membership(127)]))
    beyond = filter_pb2.Filter(boolean=filter_pb2.BooleanFilter(must=[membership(127), membership(127)]))

    excess = excess_of(beyond)

    assert excess_of(within) is None
    assert excess is not None
    assert excess.reason == "FILTER_TOO_LARGE"


def test_filter_without_kind_is_one_node() -> None:
    assert excess_of(filter_pb2.Filter()) is None
