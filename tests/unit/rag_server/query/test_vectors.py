"""What the embedder's failures make of an answer."""

from __future__ import annotations

import pytest

from rag_server.domain.fusion import AdaptiveFusion
from rag_server.domain.retrieval import Degradation, Leg, RetrievalRequest, ScoreScale, ScoreThreshold
from rag_server.errors import ResourceExhausted, Unavailable
from tests.unit.rag_server.query.rig import BOTH_ENGINES, Rig, documents

DOWN = Unavailable("EMBEDDER_UNAVAILABLE", "m")
DENSE = AdaptiveFusion(lexical_weight=0)


@BOTH_ENGINES
async def test_embedder_down_bm25_alone_answers(rig: Rig) -> None:
    await rig.put("heron", "grey heron")
    await rig.put("bread", "rye bread")
    rig.embedder.failure = DOWN
    result = await rig.ask("heron", duplicate_similarity=0.9, context_chunks=1)
    assert result.degradations == (Degradation.LEXICAL_ONLY,)
    assert documents(result) == ["heron"]
    assert set(result.results[0].signals) == {Leg.LEXICAL}


async def test_embedder_down_a_threshold_on_its_scale_is_none(rig: Rig) -> None:
    await rig.put("heron", "grey heron")
    rig.embedder.failure = DOWN
    result = await rig.ask("heron", threshold=ScoreThreshold(ScoreScale.COSINE, 0.99))
    assert documents(result) == ["heron"]


@pytest.mark.parametrize(("query", "fusion"), [("the of and", AdaptiveFusion()), ("heron", DENSE)])
async def test_embedder_down_and_nothing_for_bm25_fails(rig: Rig, query: str, fusion: AdaptiveFusion) -> None:
    rig.embedder.failure = DOWN
    with pytest.raises(Unavailable) as caught:
        await rig.ask(query, fusion=fusion)
    assert caught.value.reason == "EMBEDDER_UNAVAILABLE"


async def test_embedder_overloaded_is_a_refusal_not_a_degradation(rig: Rig) -> None:
    rig.embedder.failure = ResourceExhausted("EMBEDDER_OVERLOADED", "m", retry_after_s=1)
    with pytest.raises(ResourceExhausted):
        await rig.ask()


async def test_embedder_down_each_request_of_a_batch_is_named_degraded_that_wanted_vectors(rig: Rig) -> None:
    await rig.put("heron", "grey heron")
    rig.embedder.failure = DOWN
    both, lexical = await rig.ask_all(
        RetrievalRequest(("books",), "heron"),
        RetrievalRequest(("books",), "heron", fusion=AdaptiveFusion(dense_weight=0)),
    )
    assert both.degradations == (Degradation.LEXICAL_ONLY,)
    assert lexical.degradations == ()
    assert documents(both) == documents(lexical) == ["heron"]


async def test_embedder_down_and_one_request_of_a_batch_without_terms_fails(rig: Rig) -> None:
    rig.embedder.failure = DOWN
    with pytest.raises(Unavailable):
        await rig.ask_all(RetrievalRequest(("books",), "heron"), RetrievalRequest(("books",), "the"))


async def test_embed_queries_operators_are_not_embedded(rig: Rig) -> None:
    await rig.ask('"grey heron" at dawn -lake')
    assert rig.embedder.batches == [["grey heron at dawn"]]
