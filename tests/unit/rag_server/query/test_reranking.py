"""The rerank stage: when it works, and when the fused order stands."""

from __future__ import annotations

import time

import pytest

from rag_server.domain.retrieval import (
    CrossEncoder,
    Degradation,
    LateInteraction,
    LegSignal,
    RerankMethod,
    RetrievalRequest,
    ScoreScale,
    ScoreThreshold,
)
from rag_server.domain.time_limit import TimeLimit
from rag_server.errors import FailedPrecondition, RagError, ResourceExhausted, Unavailable
from tests.unit.rag_server.query.rig import BOTH_ENGINES, Rig, documents

BEST_BY_WORDS = ["long", "middle", "short"]
"""The order of both legs, and so of any fusion; the reranker's is the contrary."""


async def put_lengths(rig: Rig) -> None:
    await rig.put("long", "grey heron waits by the river")
    await rig.put("middle", "grey heron asleep yesterday")
    await rig.put("short", "heron eats fish")


QUERY = "grey heron waits river"


@BOTH_ENGINES
async def test_rerank_orders_by_its_own_scores_and_keeps_the_fused_ones(rig: Rig) -> None:
    await put_lengths(rig)
    fused = await rig.ask(QUERY)
    assert documents(fused) == BEST_BY_WORDS
    result = await rig.ask(QUERY, rerank=CrossEncoder(), is_explained=True)
    assert documents(result) == BEST_BY_WORDS[::-1]
    assert result.score_scale is ScoreScale.CROSS_ENCODER
    assert result.degradations == ()
    assert [each.rerank for each in result.results] == [
        LegSignal(rank, -float(len(each.chunk.text))) for rank, each in enumerate(result.results, start=1)
    ]
    assert [each.score for each in result.results] == [
        -float(len(each.chunk.text)) for each in result.results
    ]
    assert {each.chunk.id: each.fused_score for each in result.results} == {
        each.chunk.id: each.score for each in fused.results
    }
    assert "rerank" in result.timings_us


async def test_rerank_reads_the_query_without_its_operators(rig: Rig) -> None:
    await put_lengths(rig)
    await rig.ask('"grey heron" -asleep', rerank=CrossEncoder())
    assert rig.reranker.calls == [("grey heron", ["grey heron waits by the river"])]


async def test_rerank_looks_at_the_best_fused_candidates_at_least_top_k(rig: Rig) -> None:
    await put_lengths(rig)
    two = await rig.ask(QUERY, top_k=1, rerank=CrossEncoder(candidate_count=2))
    assert documents(two) == ["middle"]
    three = await rig.ask(QUERY, top_k=3, rerank=CrossEncoder(candidate_count=1))
    assert documents(three) == BEST_BY_WORDS[::-1]


async def test_rerank_equal_scores_keep_the_fused_order(rig: Rig) -> None:
    await rig.put("second", "heron abc def")
    await rig.put("first", "heron abc fed")
    result = await rig.ask("heron fed", rerank=CrossEncoder())
    assert documents(result) == ["first", "second"]


@pytest.mark.parametrize(("left_s", "is_done"), [(14.0, False), (600.0, True), (None, True)])
async def test_rerank_without_time_is_skipped_and_named(
    rig: Rig, left_s: float | None, is_done: bool
) -> None:
    await put_lengths(rig)
    rig.reranker.expected_s = 10.0
    limit = None if left_s is None else TimeLimit(time.monotonic() + left_s, is_callers=False)
    result = await rig.ask(QUERY, rerank=CrossEncoder(), limit=limit)
    assert result.degradations == (() if is_done else (Degradation.NO_RERANK,))
    assert documents(result) == (BEST_BY_WORDS[::-1] if is_done else BEST_BY_WORDS)
    assert bool(rig.reranker.calls) is is_done


@pytest.mark.parametrize(
    "failure",
    [
        Unavailable("RERANKER_UNAVAILABLE", "m"),
        ResourceExhausted("RERANKER_OVERLOADED", "m", retry_after_s=1),
    ],
)
async def test_rerank_down_keeps_the_fused_order_and_is_named(rig: Rig, failure: RagError) -> None:
    await put_lengths(rig)
    rig.reranker.failure = failure
    plain = await rig.ask(QUERY)
    result = await rig.ask(
        QUERY, rerank=CrossEncoder(), threshold=ScoreThreshold(ScoreScale.CROSS_ENCODER, 0.0)
    )
    assert result.degradations == (Degradation.NO_RERANK,)
    assert result.results == plain.results
    assert result.score_scale is plain.score_scale


@pytest.mark.parametrize("method", [CrossEncoder(), LateInteraction()])
async def test_rerank_by_what_the_server_lacks_is_refused_before_any_work(
    rig: Rig, method: RerankMethod
) -> None:
    retrieval = rig.new_retrieval(has_reranker=False)
    with pytest.raises(FailedPrecondition) as caught:
        await rig.ask(QUERY, rerank=method, retrieval=retrieval)
    assert caught.value.reason == "RERANKER_NOT_CONFIGURED"
    assert rig.embedder.batches == []
    with pytest.raises(FailedPrecondition):
        await retrieval.retrieve_batch("acme", [RetrievalRequest(("books",), QUERY, rerank=method)])


async def test_rerank_of_nothing_found_declares_the_scale_all_the_same(rig: Rig) -> None:
    result = await rig.ask(QUERY, rerank=CrossEncoder())
    assert result.score_scale is ScoreScale.CROSS_ENCODER
    assert result.degradations == ()
    assert rig.reranker.calls == []
