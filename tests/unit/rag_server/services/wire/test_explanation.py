from __future__ import annotations

from dataclasses import replace

import pytest

from rag.v1 import explanation_pb2, retriever_pb2
from rag_server.domain.retrieval import Drop, Engine, Explanation, Trace
from rag_server.services.wire.explanation import to_explanation
from tests.unit.rag_server.services.wire.examples import EXPLANATION, TRACE, absent


def test_explanation_has_every_field() -> None:
    message = to_explanation(EXPLANATION)
    assert absent(message) == set()
    assert (message.dense_candidate_count, message.lexical_candidate_count) == (50, 12)
    assert (message.dense_weight, message.lexical_weight) == (0.25, 0.75)
    (collection,) = message.collections
    assert absent(collection) == set()
    assert {field.name for field in collection.DESCRIPTOR.fields} == {
        each.name for each, _ in collection.ListFields()
    }
    assert (collection.collection_id, list(collection.lexemes)) == ("b", ["rio", "largo"])
    assert (collection.chunk_count, collection.passing_count) == (100, 40)


def test_trace_has_every_field() -> None:
    (message,) = to_explanation(EXPLANATION).traces
    assert {field.name for field in message.DESCRIPTOR.fields} == {
        each.name for each, _ in message.ListFields()
    }
    assert (message.chunk_id, message.outcome) == ("c1", explanation_pb2.OUTCOME_NEAR_DUPLICATE)
    assert (message.dense.rank, message.dense.score) == (3, 0.5)
    assert (message.lexical.HasField("rank"), message.lexical.score) == (False, 1.5)
    assert (message.fused_rank, message.fused_score) == (4, 0.25)
    assert (message.rerank.rank, message.rerank.score) == (2, 0.125)
    assert message.duplicate_of == "c2"


def test_trace_of_a_chunk_that_no_stage_saw_has_only_its_outcome() -> None:
    explanation = replace(EXPLANATION, traces=(Trace("c9", Drop.ABSENT, {}),))
    (message,) = to_explanation(explanation).traces
    assert {field.name for field, _ in message.ListFields()} == {"chunk_id", "outcome"}


@pytest.mark.parametrize("drop", Drop)
def test_outcome_is_named(drop: Drop) -> None:
    (message,) = to_explanation(replace(EXPLANATION, traces=(replace(TRACE, drop=drop),))).traces
    assert explanation_pb2.Outcome.Name(message.outcome) == f"OUTCOME_{drop.name}"


def test_outcomes_of_the_contract_are_those_of_the_domain() -> None:
    names = explanation_pb2.Outcome.keys()[1:]
    assert {name.removeprefix("OUTCOME_") for name in names} == {each.name for each in Drop}


def of_collection(engine: Engine, dense_method: str) -> explanation_pb2.CollectionExplanation:
    collection = replace(EXPLANATION.collections[0], engine=engine, dense_method=dense_method)
    return to_explanation(replace(EXPLANATION, collections=(collection,))).collections[0]


@pytest.mark.parametrize("engine", Engine)
def test_engine_is_named(engine: Engine) -> None:
    number = of_collection(engine, "exact").engine
    assert retriever_pb2.RetrievalEngine.Name(number) == f"RETRIEVAL_ENGINE_{engine.name}"


@pytest.mark.parametrize("method", ["exact", "hnsw", "store"])
def test_dense_method_is_named(method: str) -> None:
    number = of_collection(Engine.RESIDENT, method).dense_method
    assert retriever_pb2.DenseMethod.Name(number) == f"DENSE_METHOD_{method.upper()}"


def test_collection_whose_dense_leg_did_not_run_has_no_method() -> None:
    assert not of_collection(Engine.RESIDENT, "").HasField("dense_method")


def test_counts_that_the_engine_does_not_know_are_absent_and_zero_is_not() -> None:
    unknown = replace(EXPLANATION.collections[0], chunk_count=None, passing_count=None)
    none_passes = replace(EXPLANATION.collections[0], chunk_count=5, passing_count=0)
    explanation = Explanation((unknown, none_passes), 0, 0, 0.5, 0.5, ())
    first, second = to_explanation(explanation).collections
    assert (first.HasField("chunk_count"), first.HasField("passing_count")) == (False, False)
    assert (second.HasField("passing_count"), second.passing_count) == (True, 0)
