from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.query.resident import phrases as subject
from rag_server.query.resident.phrases import containing
from tests.unit.rag_server.query.resident.lexical_corpora import UNTIMED, Row, postings_of, zipf_rows

few_terms = st.integers(0, 3)


def holds(row: Row, phrase: list[int]) -> bool:
    return any(row[start : start + len(phrase)] == phrase for start in range(len(row) - len(phrase) + 1))


@UNTIMED
@given(
    st.lists(st.lists(few_terms, max_size=8), max_size=10),
    st.lists(st.integers(0, 4), min_size=1, max_size=4),
    st.sampled_from([0, 4, 10**6]),
)
def test_phrases_rows_are_those_that_hold_it_in_order(rows: list[Row], phrase: list[int], share: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # 0: the sequences of the candidates are picked; a million: all are read.
        patch.setattr(subject, "_SCAN_SHARE", share)
        found = containing(postings_of(rows), phrase)
    assert found.dtype == np.bool_
    assert found.tolist() == [holds(row, phrase) for row in rows]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_phrases_of_a_larger_corpus_are_found_in_every_row_that_holds_them(length: int) -> None:
    rows = zipf_rows(1500, seed=length, terms=60)
    postings = postings_of(rows)
    generator = np.random.default_rng(length)
    for row in generator.choice(len(rows), 20).tolist():
        phrase = rows[row][:length]
        assert containing(postings, phrase).tolist() == [holds(each, phrase) for each in rows]


def test_phrases_do_not_reach_from_one_row_into_the_next() -> None:
    assert containing(postings_of([[1, 2], [3, 1], [2, 3], [], [1], [2]]), [1, 2]).tolist() == [
        True, False, False, False, False, False,
    ]  # fmt: skip


def test_phrases_with_an_unknown_term_are_in_no_row() -> None:
    postings = postings_of([[1, 2], [2]])
    for phrase in ([None], [1, None], [None, 2], [1, 7], [7]):
        assert containing(postings, phrase).tolist() == [False, False]


def test_phrases_of_repeated_terms_need_them_all() -> None:
    assert containing(postings_of([[1, 1], [1], [1, 2, 1], [1, 1, 1]]), [1, 1, 1]).tolist() == [
        False, False, False, True,
    ]  # fmt: skip


def test_phrases_without_terms_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        containing(postings_of([[1]]), [])
