from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_worker.chunk.ruler import weight_of
from ingest_worker.chunk.word_weights import WordWeights
from tests.tokenizing import MiniLmTokenizer, WordTokenizer

TEXTS = [
    "",
    " ",
    "One heron.",
    "El niño compró «F29», ¿no?",
    "tab\tand\n\nlines ",
    "x" * 500,
    "日本語の文 です",
]


@pytest.mark.parametrize("piece", TEXTS)
def test_weight_is_that_of_the_tokenizer_where_it_splits_at_white_space(piece: str) -> None:
    minilm = MiniLmTokenizer()
    assert WordWeights(minilm)(piece) == weight_of(piece, minilm)


@given(st.text(alphabet="ab ñé.,-\n\t7", max_size=60))
def test_weight_of_any_text_is_that_of_its_words(piece: str) -> None:
    assert WordWeights(WordTokenizer())(piece) == weight_of(piece, WordTokenizer())


def test_word_is_tokenised_once_while_it_is_remembered() -> None:
    seen: list[str] = []

    class Counting(WordTokenizer):
        def count(self, text: str) -> int:
            seen.append(text)
            return super().count(text)

    weigh = WordWeights(Counting(), words=2)
    assert [weigh("one two one"), weigh("two one")] == [3, 2]
    assert seen == ["one", "two"]
    assert weigh("three one") == 2
    assert seen == ["one", "two", "three", "one"]  # there was no room for three
