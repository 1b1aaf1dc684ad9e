from __future__ import annotations

from typing import Any

import pytest

from rag.v1 import (
    fusion_pb2,
    generate_service_pb2,
    options_pb2,
    rerank_pb2,
    retrieve_service_pb2,
    retrieved_chunk_pb2,
)
from rag_server.errors import FieldViolation
from rag_server.validation import validate
from rag_server.validation.retrieval_conditions import DEFAULT_FUSION

FUSIONS: list[Any] = [
    fusion_pb2.RrfFusion,
    fusion_pb2.MinMaxFusion,
    fusion_pb2.ZScoreFusion,
    fusion_pb2.AdaptiveFusion,
]
FUSION_SCALES = {
    "rrf": "SCORE_SCALE_RRF",
    "min_max": "SCORE_SCALE_MIN_MAX",
    "z_score": "SCORE_SCALE_Z_SCORE",
    "adaptive": "SCORE_SCALE_ADAPTIVE",
}
RERANK_SCALES = {
    "late_interaction": "SCORE_SCALE_LATE_INTERACTION",
    "cross_encoder": "SCORE_SCALE_CROSS_ENCODER",
}
LEG_SCALES = {"dense_weight": "SCORE_SCALE_COSINE", "lexical_weight": "SCORE_SCALE_BM25"}


def paths(message: Any) -> list[str]:
    return [violation.field for violation in validate(message)]


@pytest.mark.parametrize("kind", FUSIONS, ids=lambda kind: kind.DESCRIPTOR.name)
@pytest.mark.parametrize(
    "weights", [{}, {"dense_weight": 0}, {"lexical_weight": 0}, {"dense_weight": 0, "lexical_weight": 0.1}]
)
def test_fusion_with_a_positive_weight_passes(kind: Any, weights: dict[str, Any]) -> None:
    assert validate(kind(**weights)) == []


@pytest.mark.parametrize("method", FUSION_SCALES)
def test_fusion_without_a_positive_weight_is_refused(method: str) -> None:
    request = retrieve_service_pb2.RetrieveRequest(collection_ids=["docs"], query="x")
    getattr(request.options.fusion, method).dense_weight = 0
    getattr(request.options.fusion, method).lexical_weight = 0

    assert paths(request) == [f"options.fusion.{method}"]


def test_fusion_of_an_unknown_method_is_refused() -> None:
    request = retrieve_service_pb2.RetrieveRequest(collection_ids=["docs"], query="x")
    # field 15, as a client of a later contract would send it
    request.options.fusion.MergeFromString(b"\x7a\x00")

    (violation,) = validate(request)
    assert violation.field == "options.fusion.method"
    assert all(method in violation.description for method in FUSION_SCALES)


def test_fusion_without_a_method_passes() -> None:
    request = retrieve_service_pb2.RetrieveRequest(collection_ids=["docs"], query="x")
    request.options.fusion.SetInParent()

    assert validate(request) == []


def test_fusion_of_every_method_is_among_those_with_conditions_and_scales() -> None:
    assert {each.name for each in fusion_pb2.Fusion.DESCRIPTOR.fields} == set(FUSION_SCALES)
    assert DEFAULT_FUSION in FUSION_SCALES


def test_rerank_of_every_method_has_a_scale() -> None:
    assert {each.name for each in rerank_pb2.Rerank.DESCRIPTOR.fields} == set(RERANK_SCALES)


def with_threshold(scale: str, **options: Any) -> options_pb2.RetrievalOptions:
    number = retrieved_chunk_pb2.ScoreScale.Value(scale)
    threshold = options_pb2.ScoreThreshold(scale=number, min_score=-1)
    return options_pb2.RetrievalOptions(threshold=threshold, **options)


def fusion_of(method: str, **weights: float) -> fusion_pb2.Fusion:
    message = fusion_pb2.Fusion()
    getattr(message, method).SetInParent()
    for name, value in weights.items():
        setattr(getattr(message, method), name, value)
    return message


def rerank_by(method: str) -> rerank_pb2.Rerank:
    message = rerank_pb2.Rerank()
    getattr(message, method).SetInParent()
    return message


@pytest.mark.parametrize("scale", retrieved_chunk_pb2.ScoreScale.keys()[1:])
@pytest.mark.parametrize("method", ["", *FUSION_SCALES])
@pytest.mark.parametrize("reranker", ["", *RERANK_SCALES])
@pytest.mark.parametrize("silent_leg", ["", *LEG_SCALES])
def test_threshold_on_a_scale_passes_where_the_request_produces_it(
    scale: str, method: str, reranker: str, silent_leg: str
) -> None:
    options: dict[str, Any] = {}
    produced = {FUSION_SCALES[method or "adaptive"]}
    produced |= {name for leg, name in LEG_SCALES.items() if leg != silent_leg}
    if method or silent_leg:
        weights = {silent_leg: 0.0} if silent_leg else {}
        options["fusion"] = fusion_of(method or "adaptive", **weights)
    if reranker:
        options["rerank"] = rerank_by(reranker)
        produced.add(RERANK_SCALES[reranker])

    found = paths(with_threshold(scale, **options))

    assert found == ([] if scale in produced else ["threshold.scale"])


def test_threshold_on_another_scale_is_told_which_there_are() -> None:
    assert validate(with_threshold("SCORE_SCALE_RRF")) == [
        FieldViolation(
            "threshold.scale",
            "SCORE_SCALE_RRF is not a scale of this request: "
            "SCORE_SCALE_ADAPTIVE, SCORE_SCALE_COSINE, SCORE_SCALE_BM25",
        )
    ]


def test_threshold_without_a_scale_or_on_an_unknown_one_is_one_violation() -> None:
    missing = options_pb2.RetrievalOptions(threshold=options_pb2.ScoreThreshold(min_score=0.5))
    unknown = options_pb2.RetrievalOptions()
    unknown.threshold.scale = 99  # type: ignore[assignment]  # what an unknown client may send

    assert validate(missing) == [FieldViolation("threshold.scale", "is required")]
    assert validate(unknown) == [FieldViolation("threshold.scale", "99 is not a value that can be given")]


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_threshold_that_is_not_finite_is_refused(score: float) -> None:
    options = with_threshold("SCORE_SCALE_COSINE")
    options.threshold.min_score = score

    assert validate(options) == [FieldViolation("threshold.min_score", "must be a finite number")]


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 333, "grouping": options_pb2.DocumentGrouping()},
        {"top_k": 10, "grouping": options_pb2.DocumentGrouping(chunks_per_document=100)},
        {"top_k": 500, "context_chunks": 2},
        {"top_k": 119, "context_chunks": 10},
        {"top_k": 1000},
        {"top_k": 100, "context_chunks": 2, "grouping": options_pb2.DocumentGrouping(chunks_per_document=5)},
    ],
    ids=range(6),
)
def test_results_within_the_bounds_pass(options: dict[str, Any]) -> None:
    assert validate(options_pb2.RetrievalOptions(**options)) == []


def test_results_by_groups_over_the_bound_are_refused() -> None:
    options = options_pb2.RetrievalOptions(
        top_k=334, grouping=options_pb2.DocumentGrouping(), context_chunks=9
    )

    assert validate(options) == [
        FieldViolation("grouping.chunks_per_document", "times top_k is 1002 results, the maximum is 1000")
    ]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"top_k": 501, "context_chunks": 2}, 2505),
        ({"top_k": 120, "context_chunks": 10}, 2520),
        ({"grouping": options_pb2.DocumentGrouping(chunks_per_document=20), "context_chunks": 6}, 2600),
    ],
    ids=range(3),
)
def test_results_with_their_context_over_the_bound_are_refused(options: dict[str, Any], count: int) -> None:
    assert validate(options_pb2.RetrievalOptions(**options)) == [
        FieldViolation("context_chunks", f"with the results makes {count} chunks, the maximum is 2500")
    ]


def test_traced_chunk_named_twice_is_refused() -> None:
    explain = options_pb2.Explain(chunk_ids=["a", "b", "a"])

    assert validate(explain) == [FieldViolation("chunk_ids[2]", "repeats an earlier chunk")]


REQUESTS = [
    (retrieve_service_pb2.RetrieveRequest, "query", "options"),
    (generate_service_pb2.GenerateRequest, "question", "retrieval"),
    (generate_service_pb2.StreamGenerateRequest, "question", "retrieval"),
]


def with_revisions(kind: Any, query: str, options: str, *revisions: tuple[str, int]) -> Any:
    request = kind(collection_ids=["a", "b"], **{query: "x"})
    for collection_id, revision in revisions:
        getattr(request, options).min_revisions.add(collection_id=collection_id, revision=revision)
    return request


@pytest.mark.parametrize(("kind", "query", "options"), REQUESTS, ids=lambda each: str(each)[-20:])
def test_min_revisions_of_searched_collections_pass(kind: Any, query: str, options: str) -> None:
    assert validate(with_revisions(kind, query, options, ("b", 0), ("a", 2**63 - 1))) == []


@pytest.mark.parametrize(("kind", "query", "options"), REQUESTS, ids=lambda each: str(each)[-20:])
def test_min_revisions_that_are_wrong_are_refused_where_they_stand(
    kind: Any, query: str, options: str
) -> None:
    request = with_revisions(kind, query, options, ("a", 1), ("c", 1), ("", 1), ("b", -1), ("a", 2))

    assert set(validate(request)) == {
        FieldViolation(f"{options}.min_revisions[1].collection_id", "is not one of collection_ids"),
        FieldViolation(f"{options}.min_revisions[2].collection_id", "is not one of collection_ids"),
        FieldViolation(f"{options}.min_revisions[3].revision", "must be at least 0"),
        FieldViolation(f"{options}.min_revisions[4].collection_id", "repeats an earlier collection"),
    }


@pytest.mark.parametrize("method", RERANK_SCALES)
def test_rerank_of_given_passages_has_no_candidate_count(method: str) -> None:
    request = retrieve_service_pb2.RerankRequest(query="x", passages=["a"], rerank=rerank_by(method))
    assert validate(request) == []

    getattr(request.rerank, method).candidate_count = 20

    assert validate(request) == [
        FieldViolation(f"rerank.{method}.candidate_count", "is not for Rerank: all passages are scored")
    ]


@pytest.mark.parametrize("kind", [each[0] for each in REQUESTS[1:]], ids=lambda kind: kind.DESCRIPTOR.name)
def test_question_with_explain_is_refused(kind: Any) -> None:
    request = kind(collection_ids=["a"], question="x")
    request.retrieval.explain.SetInParent()

    assert paths(request) == ["retrieval.explain"]


@pytest.mark.parametrize(
    "request_",
    [
        retrieve_service_pb2.RetrieveRequest(query="x"),
        generate_service_pb2.GenerateRequest(question="x"),
        generate_service_pb2.StreamGenerateRequest(question="x"),
    ],
    ids=lambda request: request.DESCRIPTOR.name,
)
def test_collection_named_twice_is_refused(request_: Any) -> None:
    request = type(request_)()
    request.CopyFrom(request_)
    request.collection_ids.extend(["a", "b", "a"])

    assert validate(request) == [FieldViolation("collection_ids[2]", "repeats an earlier collection")]


def test_collection_without_a_name_twice_is_not_a_repetition() -> None:
    request = retrieve_service_pb2.RetrieveRequest(query="x", collection_ids=["", ""])

    assert {violation.description for violation in validate(request)} == {
        "has 0 code points, must have 1 to 63"
    }


QUESTIONS = [generate_service_pb2.GenerateRequest, generate_service_pb2.StreamGenerateRequest]


@pytest.mark.parametrize("kind", QUESTIONS, ids=lambda kind: kind.DESCRIPTOR.name)
def test_question_of_at_most_100_sources_passes(kind: Any) -> None:
    options = options_pb2.RetrievalOptions(top_k=100)

    assert validate(kind(collection_ids=["docs"], question="x")) == []
    assert validate(kind(collection_ids=["docs"], question="x", retrieval=options)) == []


@pytest.mark.parametrize("kind", QUESTIONS, ids=lambda kind: kind.DESCRIPTOR.name)
def test_question_of_more_sources_by_groups_is_refused(kind: Any) -> None:
    options = options_pb2.RetrievalOptions(top_k=34, grouping=options_pb2.DocumentGrouping())

    assert validate(kind(collection_ids=["docs"], question="x", retrieval=options)) == [
        FieldViolation(
            "retrieval.grouping.chunks_per_document",
            "times top_k is 102 results, the maximum for a question is 100",
        )
    ]
    options.top_k = 33
    assert validate(kind(collection_ids=["docs"], question="x", retrieval=options)) == []


@pytest.mark.parametrize("kind", QUESTIONS, ids=lambda kind: kind.DESCRIPTOR.name)
def test_question_of_more_sources_is_refused(kind: Any) -> None:
    options = options_pb2.RetrievalOptions(top_k=101)

    assert validate(kind(collection_ids=["docs"], question="x", retrieval=options)) == [
        FieldViolation("retrieval.top_k", "must be at most 100 for a question")
    ]


def batch(count: int, collection_count: int = 1, **options: Any) -> Any:
    return retrieve_service_pb2.BatchRetrieveRequest(
        requests=[
            retrieve_service_pb2.RetrieveRequest(
                collection_ids=[f"c{number}" for number in range(collection_count)],
                query="x",
                options=options_pb2.RetrievalOptions(**options),
            )
        ]
        * count
    )


@pytest.mark.parametrize(
    "request_",
    [
        batch(64, 3),  # 50 each by default
        batch(5, candidate_count=2000),
        batch(10, top_k=1000),
        batch(10, top_k=10, candidate_count=1000),
        batch(5, 2, top_k=1000),
    ],
    ids=range(5),
)
def test_batch_of_at_most_10_000_candidates_passes(request_: Any) -> None:
    assert validate(request_) == []


@pytest.mark.parametrize(
    ("request_", "count"),
    [
        (batch(64, 4), 12_800),
        (batch(11, top_k=1000), 11_000),
        (batch(9, 16, top_k=1, candidate_count=70), 10_080),
    ],
    ids=range(3),
)
def test_batch_of_more_candidates_is_refused(request_: Any, count: int) -> None:
    assert validate(request_) == [
        FieldViolation(
            "requests",
            "the greater of candidate_count and the number of results, times the number of collections, "
            f"is {count} for all requests together, the maximum is 10000",
        )
    ]


GROUPED = options_pb2.DocumentGrouping(chunks_per_document=100)


@pytest.mark.parametrize(
    ("request_", "description"),
    [
        (
            batch(11, grouping=GROUPED),
            "the greater of candidate_count and the number of results, times the number of collections, "
            "is 11000 for all requests together, the maximum is 10000",
        ),
        (
            batch(48, context_chunks=10),
            "the number of results and of their chunks of context is 10080 for all requests together, "
            "the maximum is 10000",
        ),
        (
            batch(11, rerank=rerank_pb2.Rerank(cross_encoder={"candidate_count": 200})),  # type: ignore[arg-type]
            "the number of candidates to rerank is 2200 for all requests together, the maximum is 2000",
        ),
        (
            batch(3, top_k=700, rerank=rerank_by("late_interaction")),
            "the number of candidates to rerank is 2100 for all requests together, the maximum is 2000",
        ),
    ],
    ids=range(4),
)
def test_batch_of_more_results_context_or_reranking_is_refused(request_: Any, description: str) -> None:
    assert validate(request_) == [FieldViolation("requests", description)]


def test_batch_of_the_greatest_size_with_reranking_by_default_passes() -> None:
    assert validate(batch(64, 3, rerank=rerank_by("late_interaction"))) == []


def test_query_of_white_space_is_refused() -> None:
    request = retrieve_service_pb2.RetrieveRequest(collection_ids=["a"], query=" \t\n")
    assert paths(request) == ["query"]
    for kind in (generate_service_pb2.GenerateRequest, generate_service_pb2.StreamGenerateRequest):
        assert paths(kind(collection_ids=["a"], question="  ")) == ["question"]
    assert paths(retrieve_service_pb2.RerankRequest(query="\t", passages=["a"])) == ["query"]
