"""Explanations: what each leg saw, and where a chunk was lost."""

from __future__ import annotations

from typing import Any

import pytest

from rag_server.domain.filter import Comparison, Operator
from rag_server.domain.fusion import AdaptiveFusion
from rag_server.domain.retrieval import (
    CrossEncoder,
    Drop,
    Engine,
    Explanation,
    Grouping,
    Leg,
    Mmr,
    ScoreScale,
    ScoreThreshold,
    Trace,
)
from tests.unit.rag_server.query.rig import BOTH_ENGINES, Rig, chunk_ids

DENSE = AdaptiveFusion(lexical_weight=0)


async def trace(rig: Rig, chunk_id: str, query: str = "grey heron", *names: str, **fields: Any) -> Trace:
    explained = await explain(rig, query, *names, traced_chunk_ids=(chunk_id,), **fields)
    (found,) = explained.traces
    assert found.chunk_id == chunk_id
    return found


async def explain(rig: Rig, query: str, *names: str, **fields: Any) -> Explanation:
    result = await rig.ask(query, *names, is_explained=True, **fields)
    assert result.explanation is not None
    return result.explanation


async def test_explain_is_absent_unless_asked_for(rig: Rig) -> None:
    await rig.put("heron", "grey heron")
    assert (await rig.ask()).explanation is None


@BOTH_ENGINES
async def test_explain_counts_what_each_collection_contributed(rig: Rig, engine: str) -> None:
    await rig.make("libros", language="es")
    await rig.put("heron", "grey heron", metadata={"year": 1990})
    await rig.put("crane", "white crane", metadata={"year": 2000})
    await rig.put("garza", "la garza gris", into="libros", metadata={"year": 2000})
    condition = Comparison("metadata.year", Operator.EQUAL, 2000)
    explained = await explain(rig, "white garza", "books", "libros", filter=condition)
    books, libros = explained.collections
    assert (books.collection_id, libros.collection_id) == ("books", "libros")
    assert books.engine is libros.engine is Engine(engine)
    assert "white" in books.lexemes
    assert "garz" in libros.lexemes
    assert (explained.dense_candidate_count, explained.lexical_candidate_count) == (2, 2)
    assert explained.dense_weight + explained.lexical_weight == pytest.approx(1)
    assert explained.traces == ()
    if engine == "resident":
        assert [(each.chunk_count, each.passing_count) for each in (books, libros)] == [(2, 1), (1, 1)]
        assert books.dense_method == "exact"
    else:
        assert (books.chunk_count, books.passing_count, books.dense_method) == (None, None, "store")


@BOTH_ENGINES
async def test_explain_legs_that_did_not_run_say_nothing(rig: Rig) -> None:
    await rig.put("heron", "grey heron")
    lexical = await explain(rig, "heron", fusion=AdaptiveFusion(dense_weight=0))
    assert lexical.collections[0].dense_method == ""
    assert (lexical.dense_candidate_count, lexical.lexical_candidate_count) == (0, 1)
    dense = await explain(rig, "heron", fusion=DENSE)
    assert dense.collections[0].lexemes == ()
    assert (dense.dense_candidate_count, dense.lexical_candidate_count) == (1, 0)


@BOTH_ENGINES
async def test_trace_of_a_result_tells_every_stage(rig: Rig) -> None:
    (chunk_id,) = await rig.put("heron", "grey heron by the river")
    await rig.put("crane", "crane")
    result = await rig.ask(
        "grey heron", rerank=CrossEncoder(), is_explained=True, traced_chunk_ids=(chunk_id,)
    )
    (scored,) = [each for each in result.results if each.chunk.id == chunk_id]
    assert result.explanation is not None
    (found,) = result.explanation.traces
    assert found.drop is Drop.RETURNED
    assert found.signals == scored.signals
    assert set(found.signals) == {Leg.DENSE, Leg.LEXICAL}
    assert (found.fused_rank, found.fused_score) == (1, scored.fused_score)
    assert found.rerank == scored.rerank
    assert scored.rerank is not None
    assert scored.rerank.rank == 2


@BOTH_ENGINES
async def test_trace_absent(rig: Rig) -> None:
    await rig.put("heron", "grey heron")
    (old,) = await rig.put("old", "grey heron old")
    await rig.put("old", "grey heron new")
    (gone,) = await rig.put("gone", "grey heron gone")
    await rig.delete("gone")
    for chunk_id in ("no-such-chunk", old, gone):
        assert await trace(rig, chunk_id) == Trace(chunk_id, Drop.ABSENT, {})


async def test_trace_of_another_tenants_chunk_is_absent(rig: Rig) -> None:
    await rig.make("books", tenant_id="globex")
    (foreign,) = await rig.put("heron", "grey heron", tenant_id="globex")
    await rig.put("heron", "grey heron")
    assert (await trace(rig, foreign)).drop is Drop.ABSENT


@BOTH_ENGINES
@pytest.mark.parametrize("query", ["grey heron", '"grey heron"', "heron -lake"])
async def test_trace_filtered(rig: Rig, query: str) -> None:
    await rig.put("heron", "grey heron", metadata={"year": 1990})
    (chunk_id,) = await rig.put("lake", "heron lake grey", metadata={"year": 2000})
    condition = Comparison("metadata.year", Operator.LESS, 1995) if query == "grey heron" else None
    found = await trace(rig, chunk_id, query, filter=condition)
    assert found.drop is Drop.FILTERED
    assert {leg: signal.rank for leg, signal in found.signals.items()} == {Leg.DENSE: None, Leg.LEXICAL: None}
    assert found.signals[Leg.LEXICAL].score > 0
    assert (found.fused_rank, found.fused_score) == (None, None)


@BOTH_ENGINES
async def test_trace_not_a_candidate(rig: Rig) -> None:
    for index in range(4):
        *_, last = await rig.put(f"doc{index}", "grey heron" + " lake" * index)
    found = await trace(rig, last, candidate_count=2, top_k=1)
    assert found.drop is Drop.NOT_A_CANDIDATE
    assert found.signals[Leg.DENSE].rank is None
    assert 0 < found.signals[Leg.DENSE].score < 1


@BOTH_ENGINES
async def test_trace_candidate_of_one_collection_crowded_out_by_another(rig: Rig) -> None:
    await rig.make("more")
    for index in range(3):
        await rig.put(f"doc{index}", "grey heron" + " lake" * index)
    (weak,) = await rig.put("weak", "grey mountain valley lake", into="more")
    fields: dict[str, Any] = {"fusion": DENSE, "candidate_count": 2, "top_k": 1}
    found = await trace(rig, weak, "grey heron", "books", "more", **fields)
    assert found.drop is Drop.NOT_A_CANDIDATE
    assert Leg.DENSE in found.signals


@BOTH_ENGINES
async def test_trace_each_stage_names_its_own_losses(rig: Rig) -> None:
    ids = [(await rig.put(f"doc{index}", "grey heron" + " lake" * index))[0] for index in range(4)]
    cut = await trace(rig, ids[3], fusion=DENSE, top_k=2)
    assert (cut.drop, cut.fused_rank) == (Drop.BELOW_TOP_K, 4)
    diverse = await trace(rig, ids[3], fusion=DENSE, top_k=2, diversity=Mmr(1.0))
    assert diverse.drop is Drop.BELOW_TOP_K
    unread = await trace(rig, ids[3], fusion=DENSE, top_k=1, rerank=CrossEncoder(candidate_count=2))
    assert (unread.drop, unread.rerank) == (Drop.BELOW_RERANK, None)
    low = await trace(rig, ids[3], fusion=DENSE, threshold=ScoreThreshold(ScoreScale.COSINE, 0.99))
    assert low.drop is Drop.BELOW_THRESHOLD


@BOTH_ENGINES
async def test_trace_near_duplicate_names_its_original(rig: Rig) -> None:
    ids = {(await rig.put(name, "grey heron by the river"))[0] for name in "ab"}
    (kept,) = chunk_ids(await rig.ask("grey heron", duplicate_similarity=0.99))
    (other,) = ids - {kept}
    found = await trace(rig, other, duplicate_similarity=0.99)
    assert (found.drop, found.duplicate_of) == (Drop.NEAR_DUPLICATE, kept)
    assert (await trace(rig, kept, duplicate_similarity=0.99)).duplicate_of == ""


@BOTH_ENGINES
async def test_trace_grouped_out_and_below_the_documents_wanted(rig: Rig) -> None:
    a = await rig.put("a", "grey heron", "grey heron lake")
    b = await rig.put("b", "grey heron lake lake", "mountain")
    fields: dict[str, Any] = {"fusion": DENSE, "grouping": Grouping(1), "top_k": 1}
    drops = {each: (await trace(rig, each, **fields)).drop for each in (*a, *b)}
    assert list(drops.values()) == [
        Drop.RETURNED,
        Drop.GROUPED_OUT,
        Drop.BELOW_TOP_K,
        Drop.GROUPED_OUT,
    ]


@BOTH_ENGINES
async def test_traces_come_in_the_order_of_the_request_and_cover_every_candidate(rig: Rig) -> None:
    ids = [(await rig.put(f"doc{index}", "grey heron" + " lake" * index))[0] for index in range(4)]
    wanted = (ids[2], "nope", ids[0], ids[3], ids[1])
    result = await rig.ask(
        "grey heron",
        top_k=2,
        rerank=CrossEncoder(candidate_count=3),
        duplicate_similarity=0.9,
        is_explained=True,
        traced_chunk_ids=wanted,
    )
    assert result.explanation is not None
    traces = result.explanation.traces
    assert [each.chunk_id for each in traces] == list(wanted)
    returned = [each.chunk_id for each in traces if each.drop is Drop.RETURNED]
    assert set(returned) == set(chunk_ids(result))
    assert sorted(each.fused_rank or 0 for each in traces) == [0, 1, 2, 3, 4]
