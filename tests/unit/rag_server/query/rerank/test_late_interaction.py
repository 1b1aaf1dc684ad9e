"""`LateInteractionReranker` over the default model, and its arithmetic."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from rag_server.backends.onnx.embedder import OnnxEmbedder
from rag_server.domain.retrieval import ScoreScale
from rag_server.errors import Unavailable
from rag_server.query.rerank.late_interaction import (
    LOWEST_SCORE,
    LateInteractionReranker,
    best_similarities,
)
from rag_server.testing.reranker_suite import PASSAGES, QUERY, RelevanceSuite

Array = np.ndarray


@pytest.fixture
async def embedder() -> AsyncIterator[OnnxEmbedder]:
    embedder = await OnnxEmbedder.create()
    yield embedder
    await embedder.close()


class TestLateInteractionReranker(RelevanceSuite):
    """Conformance."""

    @pytest.fixture
    def reranker(self, embedder: OnnxEmbedder) -> LateInteractionReranker:
        return LateInteractionReranker(embedder)


class LetterEmbedder:
    """A token is a letter, its vector one of 26 axes; a window holds four."""

    async def embed_tokens(
        self, texts: Sequence[str], *, reduce: Callable[[Array], Array]
    ) -> list[list[Array]]:
        eye = np.eye(26, dtype=np.float32)
        windows = [[text[start : start + 4] for start in range(0, max(len(text), 1), 4)] for text in texts]
        return [
            [reduce(eye[[ord(letter) - ord("a") for letter in window]]) for window in text]
            for text in windows
        ]

    def expected_s(self, texts: Sequence[str]) -> float:
        return float(sum(map(len, texts)))


async def test_score_is_the_share_of_the_querys_tokens_that_the_passage_has() -> None:
    reranker = LateInteractionReranker(LetterEmbedder())
    scores = await reranker.score("abcd", ["abcd", "dcba", "ab", "xyz", "", "aaaa"])
    assert scores.tolist() == [1.0, 1.0, 0.5, 0.0, LOWEST_SCORE, 0.25]
    assert reranker.scale is ScoreScale.LATE_INTERACTION


async def test_score_reads_every_window_of_a_long_passage_and_of_a_long_query() -> None:
    reranker = LateInteractionReranker(LetterEmbedder())
    assert (await reranker.score("ab", ["xxxxxxxxab", "axxxxxxxxb"])).tolist() == [1.0, 1.0]
    assert (await reranker.score("abcdefgh", ["gh", "abcdefgh"])).tolist() == [0.25, 1.0]


async def test_score_query_without_tokens_prefers_no_passage() -> None:
    scores = await LateInteractionReranker(LetterEmbedder()).score("", ["ab", ""])
    assert scores.tolist() == [0.0, 0.0]


def test_estimate_covers_query_and_passages() -> None:
    assert LateInteractionReranker(LetterEmbedder()).estimate_s("ab", ["abc", "d"]) == 6.0


def vectors(least: int) -> st.SearchStrategy[Array]:
    return st_numpy.arrays(
        np.float32, st.tuples(st.integers(least, 6), st.just(3)), elements=st.floats(-1, 1, width=16)
    )


@given(vectors(1), vectors(1), st.integers(0, 6))
def test_best_similarities_of_a_passage_are_the_best_of_its_parts(
    query: Array, passage: Array, cut: int
) -> None:
    whole = best_similarities(query, passage)
    reference = [max(float(q @ p) for p in passage) for q in query]
    np.testing.assert_allclose(whole, reference, atol=1e-5)
    parts = [part for part in (passage[:cut], passage[cut:]) if len(part)]
    best = np.max([best_similarities(query, part) for part in parts], axis=0)
    np.testing.assert_allclose(best, whole, atol=1e-5)


def test_best_similarities_of_nothing_are_the_lowest() -> None:
    none = best_similarities(np.eye(3, dtype=np.float32), np.zeros((0, 3), np.float32))
    assert none.tolist() == [LOWEST_SCORE] * 3


async def test_score_after_the_embedder_closed_raises_unavailable(embedder: OnnxEmbedder) -> None:
    reranker = LateInteractionReranker(embedder)
    await reranker.close()
    assert (await embedder.embed(["still open"])).shape == (1, 384)
    await embedder.close()
    with pytest.raises(Unavailable) as raised:
        await reranker.score(QUERY, PASSAGES)
    assert raised.value.reason == "EMBEDDER_UNAVAILABLE"
