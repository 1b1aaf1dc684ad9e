from __future__ import annotations

from typing import Any

import pytest

from rag.v1.fusion_pb2 import AdaptiveFusion, Fusion, MinMaxFusion, RrfFusion, ZScoreFusion
from rag.v1.options_pb2 import (
    Diversity,
    DocumentGrouping,
    Mmr,
    QuerySyntax,
    RetrievalOptions,
    ScoreThreshold,
)
from rag.v1.rerank_pb2 import CrossEncoderRerank, LateInteractionRerank, Rerank
from rag.v1.retrieved_chunk_pb2 import CollectionRevision, ScoreScale
from ragctl.ranking_options import FusionMethod, RerankMethod, Syntax
from tests.unit.clients.cli.ragctl_fake_server import FakeRag


def _sent(
    run: Any, rag: FakeRag, *options: str, collections: tuple[str, ...] = ("docs",)
) -> RetrievalOptions:
    named = [each for name in collections for each in ("-c", name)]
    result = run("search", "x", *named, *options)
    assert result.exit_code == 0, result.output
    request = rag.calls["Retrieve"][-1]
    assert isinstance(request.options, RetrievalOptions)
    return request.options


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--fusion", "adaptive"], Fusion(adaptive=AdaptiveFusion())),
        (["--fusion", "min-max", "--dense-weight", "0"], Fusion(min_max=MinMaxFusion(dense_weight=0.0))),
        (["--fusion", "z-score"], Fusion(z_score=ZScoreFusion())),
        (
            ["--fusion", "rrf", "--rrf-k", "9", "--dense-weight", "2", "--lexical-weight", "0.5"],
            Fusion(rrf=RrfFusion(k=9, dense_weight=2.0, lexical_weight=0.5)),
        ),
        (["--lexical-weight", "0"], Fusion(adaptive=AdaptiveFusion(lexical_weight=0.0))),
    ],
    ids=range(5),
)
def test_fusion_options_choose_method_and_weights(
    run: Any, rag: FakeRag, options: list[str], expected: Fusion
) -> None:
    assert _sent(run, rag, *options) == RetrievalOptions(fusion=expected)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--rerank", "late-interaction"], Rerank(late_interaction=LateInteractionRerank())),
        (
            ["--rerank", "cross-encoder", "--rerank-candidates", "7"],
            Rerank(cross_encoder=CrossEncoderRerank(candidate_count=7)),
        ),
    ],
    ids=range(2),
)
def test_rerank_options_choose_method_and_candidates(
    run: Any, rag: FakeRag, options: list[str], expected: Rerank
) -> None:
    assert _sent(run, rag, *options) == RetrievalOptions(rerank=expected)


def test_shape_options_travel(run: Any, rag: FakeRag) -> None:
    options = ["--mmr", "0", "--near-duplicates", "0.95", "--group", "2", "--context", "1"]
    options += ["--candidates", "9", "--syntax", "plain", "--threshold", "cosine=-0.25"]
    assert _sent(run, rag, *options) == RetrievalOptions(
        candidate_count=9,
        diversity=Diversity(mmr=Mmr(relevance_weight=0.0)),
        duplicate_similarity=0.95,
        grouping=DocumentGrouping(chunks_per_document=2),
        context_chunks=1,
        query_syntax=QuerySyntax.QUERY_SYNTAX_PLAIN,
        threshold=ScoreThreshold(scale=ScoreScale.SCORE_SCALE_COSINE, min_score=-0.25),
    )


@pytest.mark.parametrize("scale", ScoreScale.keys()[1:])
def test_threshold_takes_every_scale_of_the_contract(run: Any, rag: FakeRag, scale: str) -> None:
    name = scale.removeprefix("SCORE_SCALE_").lower().replace("_", "-")
    threshold = _sent(run, rag, "--threshold", f"{name}=1.5").threshold
    assert threshold == ScoreThreshold(scale=ScoreScale.Value(scale), min_score=1.5)


def test_min_revision_of_the_one_collection_needs_no_name(run: Any, rag: FakeRag) -> None:
    sent = _sent(run, rag, "--min-revision", "12")
    assert list(sent.min_revisions) == [CollectionRevision(collection_id="docs", revision=12)]


def test_min_revisions_of_several_collections_are_named(run: Any, rag: FakeRag) -> None:
    options = ("--min-revision", "a=0", "--min-revision", "b=9")
    sent = _sent(run, rag, *options, collections=("a", "b"))
    assert list(sent.min_revisions) == [
        CollectionRevision(collection_id="a", revision=0),
        CollectionRevision(collection_id="b", revision=9),
    ]


@pytest.mark.parametrize(
    "options",
    [
        ["--rrf-k", "9"],
        ["--fusion", "z-score", "--rrf-k", "9"],
        ["--fusion", "best"],
        ["--rerank", "magic"],
        ["--rerank-candidates", "9"],
        ["--syntax", "sql"],
        ["--threshold", "cosine"],
        ["--threshold", "0.5"],
        ["--threshold", "distance=0.5"],
        ["--threshold", "cosine="],
        ["--threshold", "cosine=nan"],
        ["--threshold", "cosine=inf"],
        ["--min-revision", "x"],
        ["--min-revision", "-1"],
        ["--min-revision", "docs="],
        ["--min-revision", "²"],
        ["--min-revision", str(2**63)],
    ],
    ids=" ".join,
)
def test_options_that_are_wrong_are_usage_errors(run: Any, rag: FakeRag, options: list[str]) -> None:
    assert run("search", "x", "-c", "docs", *options).exit_code == 2
    assert rag.calls["Retrieve"] == []


def test_min_revision_without_a_name_among_several_collections_is_a_usage_error(
    run: Any, rag: FakeRag
) -> None:
    result = run("search", "x", "-c", "a", "-c", "b", "--min-revision", "3")
    assert result.exit_code == 2
    assert "NAME=3" in result.stderr


def test_choices_are_those_of_the_contract() -> None:
    assert {each.name.lower() for each in FusionMethod} == set(Fusion.DESCRIPTOR.fields_by_name)
    assert {each.name.lower() for each in RerankMethod} == set(Rerank.DESCRIPTOR.fields_by_name)
    assert {f"QUERY_SYNTAX_{each.name}" for each in Syntax} == set(QuerySyntax.keys()[1:])
