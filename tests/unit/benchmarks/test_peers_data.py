from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers_data import ndcg
from benchmarks.peers_worker import Corpus


def test_ndcg_of_an_ideal_ranking_is_one() -> None:
    assert ndcg(["a", "b", "x"], {"a": 2.0, "b": 1.0}) == pytest.approx(1)


def test_ndcg_discounts_by_rank_and_grade() -> None:
    expected = (1 / math.log2(2) + 2 / math.log2(4)) / (2 / math.log2(2) + 1 / math.log2(3))
    assert ndcg(["b", "x", "a"], {"a": 2.0, "b": 1.0}) == pytest.approx(expected)


def test_ndcg_counts_only_the_first_ten() -> None:
    assert ndcg([*"0123456789", "a"], {"a": 1.0}) == 0
    many = {str(number): 1.0 for number in range(20)}
    assert ndcg([*"0123456789"], many) == pytest.approx(1)


def test_corpus_written_and_read_back_is_the_same(tmp_path: Path) -> None:
    vectors = np.eye(3, dtype=np.float32)
    corpus = Corpus("es", ["1", "2"], ["uno\u2028dos", "tres"], vectors[:2], ["¿qué?"], vectors[2:])
    corpus.write(tmp_path / "corpus")
    back = Corpus.read(tmp_path / "corpus")
    assert (back.language, back.ids, back.texts, back.queries) == ("es", corpus.ids, corpus.texts, ["¿qué?"])
    lookup = back.lookup()
    assert lookup("tres").tolist() == [0, 1, 0]
    assert lookup("¿qué?").tolist() == [0, 0, 1]
