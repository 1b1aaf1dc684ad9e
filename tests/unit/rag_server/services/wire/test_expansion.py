from __future__ import annotations

import pytest

from rag.v1 import expansion_pb2 as pb
from rag.v1 import options_pb2
from rag_server.domain.expansion import (
    Decomposition,
    ExpansionMethod,
    Hyde,
    MultiQuery,
    QueryExpansion,
    SearchedWith,
)
from rag_server.domain.rewriting import ModelRewriting, NoRewriting, Rewriting, RulesRewriting
from rag_server.services.wire.expansion import from_expansion, from_rewriting, to_searched
from tests.unit.rag_server.services.wire.examples import absent


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (pb.QueryExpansion(multi_query={}), MultiQuery()),
        (pb.QueryExpansion(multi_query={"query_count": 5}), MultiQuery(5)),
        (pb.QueryExpansion(hyde={}), Hyde()),
        (pb.QueryExpansion(hyde={"passage_count": 2}), Hyde(2)),
        (pb.QueryExpansion(decomposition={}), Decomposition()),
        (pb.QueryExpansion(decomposition={"max_query_count": 2}), Decomposition(2)),
    ],
)
def test_expansion_has_its_defaults_and_its_values(
    message: pb.QueryExpansion, expected: ExpansionMethod
) -> None:
    assert from_expansion(options_pb2.GenerationOptions(expansion=message)) == QueryExpansion(expected)
    message.model = "small"
    options = options_pb2.GenerationOptions(expansion=message)
    assert from_expansion(options) == QueryExpansion(expected, "small")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (pb.QuestionRewriting(none={}), NoRewriting()),
        (pb.QuestionRewriting(rules={}), RulesRewriting()),
        (pb.QuestionRewriting(model={}), ModelRewriting()),
        (pb.QuestionRewriting(model={"model": "small"}), ModelRewriting("small")),
    ],
)
def test_rewriting_arrives_as_it_was_chosen(message: pb.QuestionRewriting, expected: Rewriting) -> None:
    assert from_rewriting(options_pb2.GenerationOptions(rewriting=message)) == expected


def test_options_without_either_ask_for_nothing() -> None:
    options = options_pb2.GenerationOptions()
    assert (from_expansion(options), from_rewriting(options)) == (None, None)


def test_what_was_searched_has_every_field() -> None:
    message = to_searched(SearchedWith("small", ("q", "r"), ("p",)))
    assert message is not None
    assert absent(message) == set()
    assert to_searched(None) is None
