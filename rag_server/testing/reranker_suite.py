"""What every `Reranker` must do. Subclass it and provide the fixture `reranker`.

class TestLateInteraction(RelevanceSuite):
    @pytest.fixture
    async def reranker(self): ...

`RerankerSuite` holds for any weights, `RelevanceSuite` adds what a model that reads English must do.
"""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from rag_server.query.rerank.reranker import Reranker

TOLERANCE = 1e-4
"""Of a score: float32 sums differ with the shape of the batch."""

QUERY = "How long does a refund take?"
PASSAGES = (
    "The river rises in winter, when snow melts in the mountains above the valley.",
    "A refund is paid within 14 days after the goods came back to the warehouse.",
    "Chunks are cut at headings and at the ends of sentences.",
    "¿Cuánto tarda una devolución? Catorce días.",
    "42",
)
RELEVANT = 1
"""Index of the passage that answers the query."""


class RerankerSuite:
    """The conformance suite."""

    async def test_score_returns_a_finite_float32_per_passage(self, reranker: Reranker) -> None:
        scores = await reranker.score(QUERY, PASSAGES)
        assert scores.shape == (len(PASSAGES),)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()

    async def test_score_same_call_twice_returns_the_same_bits(self, reranker: Reranker) -> None:
        first = await reranker.score(QUERY, PASSAGES)
        np.testing.assert_array_equal(await reranker.score(QUERY, PASSAGES), first)

    async def test_score_passages_together_is_as_each_alone(self, reranker: Reranker) -> None:
        together = await reranker.score(QUERY, PASSAGES)
        alone = [(await reranker.score(QUERY, [passage]))[0] for passage in PASSAGES]
        np.testing.assert_allclose(together, alone, atol=TOLERANCE)

    async def test_score_passages_in_another_order_gives_the_same_scores(self, reranker: Reranker) -> None:
        forward = await reranker.score(QUERY, PASSAGES)
        backward = await reranker.score(QUERY, PASSAGES[::-1])
        np.testing.assert_allclose(backward[::-1], forward, atol=TOLERANCE)

    async def test_score_equal_passages_score_equally(self, reranker: Reranker) -> None:
        scores = await reranker.score(QUERY, [PASSAGES[1], PASSAGES[0], PASSAGES[1]])
        np.testing.assert_allclose(scores[0], scores[2], atol=TOLERANCE)

    async def test_score_no_passages_returns_no_scores(self, reranker: Reranker) -> None:
        scores = await reranker.score(QUERY, [])
        assert scores.shape == (0,)
        assert scores.dtype == np.float32

    @pytest.mark.parametrize("query", [QUERY, "", "?!", "word " * 300])
    @pytest.mark.parametrize(
        "passages", [[""], ["  \n"], ["\u200b"], ["river " * 600], ["🙂", "", "a refund " * 150]]
    )
    async def test_score_odd_texts_get_finite_scores(
        self, reranker: Reranker, query: str, passages: list[str]
    ) -> None:
        scores = await reranker.score(query, passages)
        assert scores.shape == (len(passages),)
        assert np.isfinite(scores).all()

    async def test_score_concurrent_calls_get_their_own_scores(self, reranker: Reranker) -> None:
        queries = [f"{QUERY} {word}" for word in ("river", "chunks", "14 days", "devolución")]
        expected = [await reranker.score(query, PASSAGES) for query in queries]
        actual = await asyncio.gather(*(reranker.score(query, PASSAGES) for query in queries))
        np.testing.assert_allclose(actual, expected, atol=TOLERANCE)

    async def test_score_cancelled_leaves_the_reranker_usable(self, reranker: Reranker) -> None:
        expected = await reranker.score(QUERY, PASSAGES)
        task = asyncio.create_task(reranker.score(QUERY, ["a refund of the river " * 60] * 200))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        np.testing.assert_allclose(await reranker.score(QUERY, PASSAGES), expected, atol=TOLERANCE)

    async def test_estimate_grows_with_the_passages(self, reranker: Reranker) -> None:
        await reranker.score(QUERY, PASSAGES)
        none = reranker.estimate_s(QUERY, [])
        few, many = reranker.estimate_s(QUERY, PASSAGES), reranker.estimate_s(QUERY, PASSAGES * 10)
        assert 0 <= none < few < many < np.inf

    async def test_close_twice_does_no_harm(self, reranker: Reranker) -> None:
        await reranker.close()
        await reranker.close()


class RelevanceSuite(RerankerSuite):
    """For models that read English."""

    async def test_score_easy_case_ranks_the_answer_first(self, reranker: Reranker) -> None:
        scores = await reranker.score(QUERY, PASSAGES)
        assert int(np.argmax(scores)) == RELEVANT
        assert scores[RELEVANT] > np.sort(scores)[-2] + 0.05

    async def test_score_empty_passage_ranks_last(self, reranker: Reranker) -> None:
        scores = await reranker.score(QUERY, [*PASSAGES, ""])
        assert int(np.argmin(scores)) == len(PASSAGES)
