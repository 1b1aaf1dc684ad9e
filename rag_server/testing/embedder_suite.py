"""What every `Embedder` must do. Subclass it and provide the fixture `embedder`.

class TestHashEmbedder(EmbedderSuite):
    @pytest.fixture
    async def embedder(self): ...
"""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from rag_server.backends.protocols import Embedder
from rag_server.domain.priority import Priority
from rag_server.errors import Unavailable

TOLERANCE = 2e-5
"""Of a coordinate: float32 sums differ with the shape of the batch."""

TEXTS = (
    "How are passages ranked?",
    "A chunk keeps its page, its span and the headings above it. " * 6,
    "¿Cuánto tarda una devolución?",
    "42",
    "The lease of a job ends when its worker dies; another worker then takes the job over.",
    "naïve café — ½ ₿ 東京 🦜",
)
# every tokenizer keeps these whole, so a text's windows can be told from the text
_WORDS = ("the", "river", "house", "music", "winter", "paper", "green", "market")


def _long_text(word_count: int) -> str:
    return " ".join(_WORDS[(index * index + index // 7) % len(_WORDS)] for index in range(word_count))


class EmbedderSuite:
    """The conformance suite."""

    async def test_model_states_dimension_and_a_window_with_room(self, embedder: Embedder) -> None:
        model = embedder.model
        assert model.id
        assert model.dimension > 0
        assert 0 < model.content_tokens == model.window_tokens - model.special_token_count

    @pytest.mark.parametrize("priority", list(Priority))
    async def test_embed_several_texts_returns_unit_rows_in_order(
        self, embedder: Embedder, priority: Priority
    ) -> None:
        together = await embedder.embed(TEXTS, priority=priority)
        assert together.shape == (len(TEXTS), embedder.model.dimension)
        assert together.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=TOLERANCE)
        for text, row in zip(TEXTS, together, strict=True):
            alone = await embedder.embed([text])
            np.testing.assert_allclose(alone[0], row, atol=TOLERANCE)

    async def test_embed_different_texts_returns_different_vectors(self, embedder: Embedder) -> None:
        similarities = (vectors := await embedder.embed(TEXTS)) @ vectors.T
        np.fill_diagonal(similarities, 0.0)
        assert similarities.max() < 0.99  # noqa: PLR2004 (a bound that only equal texts exceed)

    async def test_embed_same_call_twice_returns_the_same_bits(self, embedder: Embedder) -> None:
        first, second = await embedder.embed(TEXTS), await embedder.embed(TEXTS)
        np.testing.assert_array_equal(first, second)

    async def test_embed_no_texts_returns_no_rows(self, embedder: Embedder) -> None:
        vectors = await embedder.embed([])
        assert vectors.shape == (0, embedder.model.dimension)
        assert vectors.dtype == np.float32

    async def test_embed_empty_text_returns_a_unit_vector(self, embedder: Embedder) -> None:
        vectors = await embedder.embed([""])
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=TOLERANCE)

    async def test_embed_text_longer_than_the_window_returns_the_weighted_mean_of_its_windows(
        self, embedder: Embedder
    ) -> None:
        size = embedder.model.content_tokens
        text = _long_text(2 * size + size // 3)
        spans = embedder.tokenizer.offsets(text).tolist()
        assert len(spans) == 2 * size + size // 3
        groups = [spans[start : start + size] for start in range(0, len(spans), size)]
        windows = [text[group[0][0] : group[-1][1]] for group in groups]
        expected = np.array([[len(group)] for group in groups], np.float32) * await embedder.embed(windows)
        expected = expected.sum(axis=0) / np.linalg.norm(expected.sum(axis=0))
        actual = await embedder.embed(["short", text])
        np.testing.assert_allclose(actual[1], expected, atol=TOLERANCE)

    async def test_embed_text_that_fills_the_window_is_not_split(self, embedder: Embedder) -> None:
        size = embedder.model.content_tokens
        full, beyond = await embedder.embed([_long_text(size), _long_text(size) + " paper"])
        assert not np.allclose(full, beyond, atol=TOLERANCE)

    async def test_embed_cancelled_leaves_the_embedder_usable(self, embedder: Embedder) -> None:
        expected = await embedder.embed(TEXTS)
        texts = [_long_text(embedder.model.content_tokens)] * 200
        tasks = [asyncio.create_task(embedder.embed(texts, priority=priority)) for priority in Priority]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * len(tasks)
        np.testing.assert_array_equal(await embedder.embed(TEXTS), expected)

    async def test_embed_concurrent_calls_get_their_own_vectors(self, embedder: Embedder) -> None:
        expected = await embedder.embed(TEXTS)
        rows = await asyncio.gather(
            *(
                embedder.embed([text], priority=Priority(index % len(Priority)))
                for index, text in enumerate(TEXTS)
            )
        )
        np.testing.assert_allclose(np.concatenate(rows), expected, atol=TOLERANCE)

    async def test_close_twice_then_embed_raises_unavailable(self, embedder: Embedder) -> None:
        await embedder.close()
        await embedder.close()
        with pytest.raises(Unavailable) as raised:
            await embedder.embed(["late"])
        assert raised.value.reason == "EMBEDDER_UNAVAILABLE"

    @pytest.mark.parametrize("text", TEXTS)
    async def test_tokenizer_spans_are_ordered_and_as_many_as_counted(
        self, embedder: Embedder, text: str
    ) -> None:
        offsets = embedder.tokenizer.offsets(text)
        assert offsets.dtype == np.int32
        spans = offsets.tolist()
        assert len(spans) == embedder.tokenizer.count(text) > 0
        assert spans == sorted(spans)
        assert spans[-1][1] <= len(text)
        covered = {index for start, end in spans for index in range(start, end)}
        letters = {
            index for index, character in enumerate(text) if character.isascii() and character.isalnum()
        }
        assert letters <= covered

    async def test_tokenizer_empty_text_has_no_tokens(self, embedder: Embedder) -> None:
        assert embedder.tokenizer.count("") == 0
        assert embedder.tokenizer.offsets("").shape == (0, 2)
