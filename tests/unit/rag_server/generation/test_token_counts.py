from __future__ import annotations

from collections.abc import Sequence

from rag_server.generation.token_counts import TokenCounts
from tests.unit.rag_server.generation.scripted import Scripted


class Counting(Scripted):
    def __init__(self, name: str = "writer") -> None:
        super().__init__("", name=name)
        self.asked: list[str] = []

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        self.asked += texts
        return super().count_tokens(texts)


def test_counts_are_the_models_own_in_the_order_of_the_texts() -> None:
    assert TokenCounts().of(Counting(), ["a b", "", "c", "a b"]) == [2, 0, 1, 2]
    assert TokenCounts().of(Counting(), []) == []


def test_text_is_counted_once() -> None:
    counts, model = TokenCounts(), Counting()
    counts.of(model, ["a b", "c", "c"])
    assert counts.of(model, ["c", "d e f", "a b"]) == [1, 3, 2]
    assert model.asked == ["a b", "c", "d e f"]


def test_each_model_counts_by_itself() -> None:
    counts, other = TokenCounts(), Counting("other")
    counts.of(Counting(), ["a b"])
    assert counts.of(other, ["a b"]) == [2]
    assert other.asked == ["a b"]


def test_what_was_not_asked_for_longest_is_forgotten() -> None:
    counts, model = TokenCounts(max_texts=2), Counting()
    for text in ("a", "b", "a", "c", "a", "b"):
        counts.of(model, [text])
    assert model.asked == ["a", "b", "c", "b"]


def test_more_texts_than_are_remembered_are_counted_all_the_same() -> None:
    assert TokenCounts(max_texts=1).of(Counting(), ["a", "b c", "d"]) == [1, 2, 1]


def test_text_that_is_no_unicode_has_a_count() -> None:
    assert TokenCounts().of(Counting(), ["a \udcff"]) == [2]
