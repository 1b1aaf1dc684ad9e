"""Several queries for one question: what each adds, how their rankings merge, and what holds for all."""

from __future__ import annotations

import numpy as np
import pytest

from rag_server.domain.expansion import ExpandedQuery, Merging
from rag_server.domain.filter import Comparison, Operator
from rag_server.domain.fusion import AdaptiveFusion
from rag_server.domain.retrieval import (
    CrossEncoder,
    Degradation,
    Leg,
    QuerySyntax,
    ScoreScale,
    ScoreThreshold,
)
from rag_server.errors import Unavailable
from tests.unit.rag_server.query.rig import BOTH_ENGINES, Rig, documents

LEXICAL = AdaptiveFusion(dense_weight=0)


async def put_birds(rig: Rig) -> None:
    await rig.make("letters")
    await rig.put("heron", "grey heron waits by the river", metadata={"year": 1990})
    await rig.put("crane", "white crane dances at the lake", metadata={"year": 2000})
    await rig.put("bread", "rye bread needs an oven", metadata={"year": 2010})
    await rig.put("owl", "barn owl hunts mice", into="letters")


@BOTH_ENGINES
async def test_passage_that_only_another_query_finds_is_a_result(rig: Rig, engine: str) -> None:
    await put_birds(rig)
    alone = await rig.ask("heron", fusion=LEXICAL)
    assert documents(alone) == ["heron"]
    expanded = ExpandedQuery(("dancing crane", "heron at the river"))
    result = await rig.ask("heron", fusion=LEXICAL, expanded=expanded)
    assert documents(result) == ["heron", "crane"]  # two queries find the first, one the other
    assert result.score_scale is ScoreScale.RRF
    assert result.results[0].score == pytest.approx(1 / 61 + 1 / 61)
    assert result.results[1].score == pytest.approx(1 / 61)
    assert list(result.timings_us) == ["analyze", "search", "fuse", "total"]
    assert result.collection_revisions == {"books": 3}


@BOTH_ENGINES
async def test_passage_has_the_best_that_any_query_made_of_it(rig: Rig, engine: str) -> None:
    await put_birds(rig)
    result = await rig.ask("river", expanded=ExpandedQuery(("grey heron river",)))
    own = {each.chunk.document_id: each for each in result.results}["heron"]
    better = (await rig.ask("grey heron river")).results[0]
    assert own.signals == better.signals
    assert own.signals[Leg.DENSE].rank == own.signals[Leg.LEXICAL].rank == 1
    assert own.fused_score == better.fused_score


@BOTH_ENGINES
async def test_queries_take_turns_where_the_best_rank_counts(rig: Rig, engine: str) -> None:
    await put_birds(rig)
    queries = ("rye bread", "white crane")
    result = await rig.ask("heron", fusion=LEXICAL, expanded=ExpandedQuery(queries, Merging.BEST))
    assert set(documents(result)) == {"heron", "bread", "crane"}
    assert [each.score for each in result.results] == pytest.approx([1 / 61] * 3)


@BOTH_ENGINES
async def test_filter_phrase_exclusion_and_collections_hold_for_every_query(rig: Rig, engine: str) -> None:
    await put_birds(rig)
    condition = Comparison("metadata.year", Operator.GREATER, 1995)
    expanded = ExpandedQuery(("rye bread", "white crane"))
    result = await rig.ask("oven", filter=condition, expanded=expanded)
    assert set(documents(result)) == {"crane", "bread"}
    result = await rig.ask("oven -crane", syntax=QuerySyntax.OPERATORS, expanded=expanded)
    assert "crane" not in documents(result)
    result = await rig.ask("oven", "books", "letters", fusion=LEXICAL, expanded=ExpandedQuery(("owl mice",)))
    assert set(documents(result)) == {"bread", "owl"}
    assert set(result.collection_revisions) == {"books", "letters"}


@BOTH_ENGINES
async def test_later_stages_work_on_the_merged_ranking(rig: Rig, engine: str) -> None:
    await put_birds(rig)
    expanded = ExpandedQuery(("white crane", "rye bread"))
    result = await rig.ask("heron", top_k=2, rerank=CrossEncoder(), expanded=expanded, fusion=LEXICAL)
    assert documents(result) == ["bread", "heron"], "the shortest are the best"
    (query, passages) = rig.reranker.calls[-1]
    assert query == "heron"
    assert len(passages) == 3
    threshold = ScoreThreshold(ScoreScale.BM25, 0.01)
    result = await rig.ask("heron", expanded=ExpandedQuery(("white crane",)), threshold=threshold)
    assert set(documents(result)) == {"heron", "crane"}
    result = await rig.ask("heron", expanded=expanded, context_chunks=1, duplicate_similarity=0.99)
    assert len(result.results) == 3


@BOTH_ENGINES
async def test_query_with_nothing_to_look_for_is_left_out(rig: Rig, engine: str) -> None:
    await put_birds(rig)
    plain = await rig.ask("heron")
    result = await rig.ask("heron", expanded=ExpandedQuery(("the", "...")))
    assert result.results == plain.results
    assert result.score_scale is plain.score_scale


@BOTH_ENGINES
async def test_document_deleted_meanwhile_is_in_no_answer(rig: Rig, engine: str) -> None:
    await put_birds(rig)

    async def delete() -> None:
        rig.reranker.meanwhile = None
        await rig.delete("crane")

    rig.reranker.meanwhile = delete
    expanded = ExpandedQuery(("white crane",))
    result = await rig.ask("heron", rerank=CrossEncoder(), expanded=expanded, fusion=LEXICAL)
    assert documents(result) == ["heron"]


@BOTH_ENGINES
async def test_passages_move_the_vector_and_leave_the_words(rig: Rig, engine: str) -> None:
    await put_birds(rig)
    expanded = ExpandedQuery(passages=("rye bread needs an oven", "bread"))
    result = await rig.ask("heron", expanded=expanded)
    assert rig.embedder.batches[-1] == ["heron", *expanded.passages]
    found = {each.chunk.document_id: each.signals for each in result.results}
    vectors = await rig.embedder.embed(["heron", *expanded.passages, "rye bread needs an oven"])
    mean = vectors[:3].mean(axis=0)
    cosine = float(mean / np.linalg.norm(mean) @ vectors[3])
    assert found["bread"][Leg.DENSE].score == pytest.approx(cosine, abs=1e-5)
    assert found["bread"][Leg.LEXICAL].score == 0
    assert found["heron"][Leg.LEXICAL].rank == 1


@BOTH_ENGINES
async def test_embedder_that_is_down_leaves_the_words_of_all_queries(rig: Rig, engine: str) -> None:
    await put_birds(rig)
    await rig.ask("heron")
    rig.embedder.failure = Unavailable("EMBEDDER_UNAVAILABLE", "down")
    result = await rig.ask("heron", expanded=ExpandedQuery(("white crane", "the")))
    assert set(documents(result)) == {"heron", "crane"}
    assert result.degradations == (Degradation.LEXICAL_ONLY,)


@BOTH_ENGINES
async def test_nothing_found_by_any_query_is_an_empty_result(rig: Rig, engine: str) -> None:
    await put_birds(rig)
    result = await rig.ask("zebra", fusion=LEXICAL, expanded=ExpandedQuery(("giraffe",)))
    assert result.results == ()
