"""What results look like: threshold, near duplicates, diversity, groups, the cut, neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from rag_server.domain.fusion import AdaptiveFusion
from rag_server.domain.retrieval import (
    CrossEncoder,
    Grouping,
    Leg,
    Mmr,
    RetrievalResult,
    ScoredChunk,
    ScoreScale,
    ScoreThreshold,
)
from tests.unit.rag_server.query.rig import BOTH_ENGINES, Rig, documents, texts

DENSE = AdaptiveFusion(lexical_weight=0)


def score_on(scored: ScoredChunk, scale: ScoreScale) -> float | None:
    """Return a result's score on `scale`; None: it has none."""
    match scale:
        case ScoreScale.COSINE | ScoreScale.BM25:
            signal = scored.signals.get(Leg.DENSE if scale is ScoreScale.COSINE else Leg.LEXICAL)
            return None if signal is None else signal.score
        case ScoreScale.CROSS_ENCODER:
            return None if scored.rerank is None else scored.rerank.score
        case _:
            return scored.fused_score


async def put_herons(rig: Rig) -> None:
    for index in range(5):
        await rig.put(f"heron{index}", "grey heron" + " lake" * index)


@BOTH_ENGINES
@pytest.mark.parametrize(
    "scale", [ScoreScale.COSINE, ScoreScale.BM25, ScoreScale.ADAPTIVE, ScoreScale.CROSS_ENCODER]
)
async def test_threshold_keeps_what_reaches_it_on_its_scale(rig: Rig, scale: ScoreScale) -> None:
    await put_herons(rig)
    everything = await rig.ask("grey heron", rerank=CrossEncoder())
    scores = {each.chunk.document_id: score_on(each, scale) for each in everything.results}
    known = sorted(score for score in scores.values() if score is not None)
    assert len(known) == 5
    threshold = ScoreThreshold(scale, known[2])
    kept = await rig.ask("grey heron", rerank=CrossEncoder(), threshold=threshold)
    assert set(documents(kept)) == {
        name for name, score in scores.items() if score is not None and score >= known[2]
    }
    assert 0 < len(kept.results) < 5


@BOTH_ENGINES
async def test_threshold_above_everything_leaves_nothing(rig: Rig) -> None:
    await put_herons(rig)
    result = await rig.ask(
        "grey heron",
        threshold=ScoreThreshold(ScoreScale.BM25, 1e6),
        duplicate_similarity=0.9,
        diversity=Mmr(),
        grouping=Grouping(),
        context_chunks=2,
    )
    assert result.results == ()


async def test_threshold_passages_without_a_score_on_the_scale_do_not_pass(rig: Rig) -> None:
    """A collection whose language makes stop words of the query has no BM25 scores."""
    await rig.make("libros", language="es")
    await rig.put("en", "the heron and the lake")
    await rig.put("es", "the heron", into="libros")
    threshold = ScoreThreshold(ScoreScale.BM25, -1e6)
    result = await rig.ask("the", "books", "libros", threshold=threshold)
    assert documents(result) == ["es"]


@BOTH_ENGINES
async def test_threshold_on_the_scale_of_a_leg_without_terms_is_none(rig: Rig) -> None:
    await put_herons(rig)
    result = await rig.ask("the of and", threshold=ScoreThreshold(ScoreScale.BM25, 1e6))
    assert len(result.results) == 5


@BOTH_ENGINES
async def test_near_duplicates_only_the_best_ranked_stays(rig: Rig) -> None:
    await rig.put("a", "grey heron by the river")
    await rig.put("b", "white crane", "grey heron by the river")
    await rig.put("c", "grey heron by the river lake")
    exact = await rig.ask("grey heron river", duplicate_similarity=1.0, top_k=2)
    assert sorted(texts(exact)) == ["grey heron by the river", "grey heron by the river lake"]
    loose = await rig.ask("grey heron river", duplicate_similarity=0.8)
    assert sorted(texts(loose)) == ["grey heron by the river", "white crane"]


@BOTH_ENGINES
async def test_near_duplicates_of_another_collection_count(rig: Rig) -> None:
    await rig.make("more")
    await rig.put("a", "grey heron by the river")
    await rig.put("a", "grey heron by the river", into="more")
    result = await rig.ask("heron", "books", "more", duplicate_similarity=1.0)
    assert len(result.results) == 1


@BOTH_ENGINES
async def test_mmr_prefers_what_differs(rig: Rig) -> None:
    await rig.put("a", "grey heron river")
    await rig.put("b", "grey heron river dawn")
    await rig.put("c", "grey crane mountain")
    relevance = await rig.ask("grey heron river", diversity=Mmr(1.0), top_k=2)
    assert documents(relevance) == documents(await rig.ask("grey heron river", top_k=2)) == ["a", "b"]
    difference = await rig.ask("grey heron river", diversity=Mmr(0.1), top_k=2)
    assert documents(difference) == ["a", "c"]
    assert "diversify" in difference.timings_us


@BOTH_ENGINES
async def test_grouping_brings_documents_together_and_counts_them(rig: Rig) -> None:
    await rig.put("a", "grey heron", "grey heron lake", "grey heron lake lake")
    await rig.put("b", "grey heron dawn dawn", "mountain crane")
    await rig.put("c", "grey dawn dawn dawn")
    result = await rig.ask("grey heron", fusion=DENSE, grouping=Grouping(2), top_k=2)
    assert documents(result) == ["a", "a", "b", "b"]
    assert texts(result)[:2] == ["grey heron", "grey heron lake"]
    one_each = await rig.ask("grey heron", fusion=DENSE, grouping=Grouping(1), top_k=3)
    assert documents(one_each) == ["a", "b", "c"]


@BOTH_ENGINES
async def test_grouping_documents_of_two_collections_with_one_id_are_two(rig: Rig) -> None:
    await rig.make("more")
    await rig.put("same", "grey heron", "grey heron lake")
    await rig.put("same", "grey heron dawn", into="more")
    result = await rig.ask("grey heron", "books", "more", grouping=Grouping(1), top_k=5)
    assert sorted(each.chunk.collection_id for each in result.results) == ["books", "more"]


async def test_grouping_after_mmr_has_the_whole_ranking_to_choose_from(rig: Rig) -> None:
    await rig.put("a", *("grey heron" + " lake" * count for count in range(4)))
    await rig.put("b", "mountain")
    await rig.put("c", "valley")
    result = await rig.ask("grey heron", fusion=DENSE, diversity=Mmr(1.0), grouping=Grouping(1), top_k=3)
    assert set(documents(result)) == {"a", "b", "c"}


@BOTH_ENGINES
async def test_context_brings_the_neighbours_within_the_document(rig: Rig) -> None:
    await rig.put("other", "zero")
    await rig.put("doc", "one", "two", "three heron", "four", "five")
    await rig.put("next", "six")

    async def around(query: str, count: int) -> tuple[list[str], list[str]]:
        result = await rig.ask(query, fusion=AdaptiveFusion(dense_weight=0), context_chunks=count)
        (only,) = result.results
        return [each.text for each in only.context_before], [each.text for each in only.context_after]

    assert await around("heron", 0) == ([], [])
    assert await around("heron", 1) == (["two"], ["four"])
    assert await around("heron", 10) == (["one", "two"], ["four", "five"])
    assert await around("one", 2) == ([], ["two", "three heron"])
    assert await around("five", 2) == (["three heron", "four"], [])
    assert await around("zero", 2) == ([], [])


@BOTH_ENGINES
async def test_shape_all_at_once_keeps_every_promise(rig: Rig) -> None:
    for index in range(6):
        await rig.put(f"doc{index}", *(f"grey heron {'lake ' * part}tag{index % 3}" for part in range(4)))

    async def ask(**fields: object) -> RetrievalResult:
        return await rig.ask("grey heron", rerank=CrossEncoder(candidate_count=50), **fields)

    result = await ask(
        threshold=ScoreThreshold(ScoreScale.CROSS_ENCODER, -30.0),
        duplicate_similarity=0.999,
        diversity=Mmr(0.7),
        grouping=Grouping(2),
        context_chunks=1,
        top_k=2,
    )
    names = documents(result)
    assert len(set(names)) <= 2
    assert max(names.count(name) for name in names) <= 2
    assert names == sorted(names, key=names.index)
    assert all(each.rerank is not None and each.rerank.score >= -30 for each in result.results)
    vectors = await rig.embedder.embed(texts(result))
    similarities = vectors @ vectors.T - np.eye(len(vectors))
    assert similarities.max() < 0.999
