from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from rag.v1 import fusion_pb2, generate_service_pb2, options_pb2, rerank_pb2, retrieve_service_pb2
from rag_server.domain.fusion import AdaptiveFusion, Fusion, MinMaxFusion, RrfFusion, ZScoreFusion
from rag_server.domain.retrieval import (
    CrossEncoder,
    Grouping,
    LateInteraction,
    Mmr,
    QuerySyntax,
    RetrievalRequest,
)
from rag_server.services.wire.options import from_fusion, from_rerank
from rag_server.services.wire.query import from_question, from_retrieve
from tests.unit.rag_server.services.wire.examples import FULL, absent, full_options

METHODS: dict[str, type[Fusion]] = {
    "rrf": RrfFusion,
    "min_max": MinMaxFusion,
    "z_score": ZScoreFusion,
    "adaptive": AdaptiveFusion,
}


def test_fusion_without_a_method_is_adaptive() -> None:
    assert from_fusion(fusion_pb2.Fusion()) == AdaptiveFusion()


@pytest.mark.parametrize("field", list(fusion_pb2.Fusion.DESCRIPTOR.fields), ids=lambda field: field.name)
def test_fusion_method_has_its_defaults_and_its_values(field: Any) -> None:
    method = METHODS[field.name]
    message = fusion_pb2.Fusion()
    getattr(message, field.name).SetInParent()
    assert from_fusion(message) == method()
    getattr(message, field.name).dense_weight = 0.0
    getattr(message, field.name).lexical_weight = 0.25
    assert from_fusion(message) == method(dense_weight=0.0, lexical_weight=0.25)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (rerank_pb2.Rerank(), LateInteraction()),
        (rerank_pb2.Rerank(late_interaction=rerank_pb2.LateInteractionRerank()), LateInteraction()),
        (
            rerank_pb2.Rerank(late_interaction=rerank_pb2.LateInteractionRerank(candidate_count=7)),
            LateInteraction(7),
        ),
        (rerank_pb2.Rerank(cross_encoder=rerank_pb2.CrossEncoderRerank()), CrossEncoder()),
        (
            rerank_pb2.Rerank(cross_encoder=rerank_pb2.CrossEncoderRerank(candidate_count=7)),
            CrossEncoder(7),
        ),
    ],
)
def test_rerank_method_has_its_defaults_and_its_values(message: rerank_pb2.Rerank, expected: object) -> None:
    assert from_rerank(message) == expected


def test_retrieve_request_defaults_are_those_of_the_domain() -> None:
    message = retrieve_service_pb2.RetrieveRequest(collection_ids=["books"], query="q")
    assert from_retrieve(message) == RetrievalRequest(("books",), "q")


def test_retrieve_request_arrives_with_every_option() -> None:
    message = retrieve_service_pb2.RetrieveRequest(
        collection_ids=["b", "a"], query="q", options=full_options()
    )
    assert absent(message) == set()
    assert from_retrieve(message) == FULL
    default = RetrievalRequest(("b", "a"), "q")
    assert [
        each.name for each in fields(FULL) if getattr(FULL, each.name) == getattr(default, each.name)
    ] == [
        "collection_ids",
        "query",
        "expanded",  # what a model adds later
    ]


def test_retrieve_request_options_that_are_empty_messages_are_present() -> None:
    message = retrieve_service_pb2.RetrieveRequest(collection_ids=["a"], query="q")
    message.options.diversity.mmr.SetInParent()
    message.options.grouping.SetInParent()
    message.options.explain.SetInParent()
    assert from_retrieve(message) == RetrievalRequest(
        ("a",), "q", diversity=Mmr(), grouping=Grouping(), is_explained=True
    )


@pytest.mark.parametrize("syntax", QuerySyntax)
def test_query_syntax_is_the_callers_choice_else_the_methods(syntax: QuerySyntax) -> None:
    query = retrieve_service_pb2.RetrieveRequest(collection_ids=["a"], query="q")
    question = generate_service_pb2.GenerateRequest(collection_ids=["a"], question="q")
    assert from_retrieve(query).syntax is QuerySyntax.OPERATORS
    assert from_question(question).retrieval.syntax is QuerySyntax.PLAIN
    number = options_pb2.QuerySyntax.Value(f"QUERY_SYNTAX_{syntax.name}")
    query.options.query_syntax = question.retrieval.query_syntax = number
    assert from_retrieve(query).syntax is syntax
    assert from_question(question).retrieval.syntax is syntax
