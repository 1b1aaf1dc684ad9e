from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.query.resident.postings import Postings
from rag_server.query.resident.statistics import TermStatistics
from tests.unit.rag_server.query.resident.lexical_corpora import CORPORA, UNTIMED, Row, postings_of


def assert_counts(statistics: TermStatistics, rows: list[Row]) -> None:
    """Compare with a count over the living rows."""
    wanted = np.arange(10, dtype=np.int32)
    assert statistics.row_count == len(rows)
    assert statistics.total_length == sum(map(len, rows))
    assert statistics.frequencies_of(wanted).tolist() == [
        sum(term in row for row in rows) for term in range(10)
    ]
    assert statistics.document_frequencies.dtype == np.int32
    assert statistics.average_length == (sum(map(len, rows)) / len(rows) if rows else 0)


@UNTIMED
@given(st.lists(CORPORA, max_size=4), st.data())
def test_statistics_after_any_inserts_and_deletes_are_those_of_a_rebuild(
    corpora: list[list[Row]], data: st.DataObject
) -> None:
    statistics = TermStatistics.empty()
    alive: list[tuple[Postings, list[Row], set[int]]] = []
    for rows in corpora:
        postings = postings_of(rows)
        statistics = statistics.plus(postings, None)
        alive.append((postings, rows, set(range(len(rows)))))
        for index, (held, _, living) in enumerate(alive):
            gone = data.draw(st.sets(st.sampled_from(sorted(living)))) if living else set()
            statistics = statistics.minus(held, np.array(sorted(gone), np.int64))
            back = data.draw(st.sets(st.sampled_from(sorted(gone)))) if gone else set()
            statistics = statistics.plus(held, np.array(sorted(back), np.int64))
            alive[index] = (held, alive[index][1], living - gone | back)
        assert_counts(statistics, [held[row] for _, held, living in alive for row in sorted(living)])


@UNTIMED
@given(CORPORA)
def test_statistics_without_everything_count_nothing(rows: list[Row]) -> None:
    postings = postings_of(rows)
    assert_counts(TermStatistics.empty().plus(postings, None).minus(postings, None), [])


def test_statistics_change_leaves_the_earlier_ones_as_they_were() -> None:
    first = postings_of([[1, 2], [2]])
    before = TermStatistics.empty().plus(first, None)
    after = before.minus(first, np.array([0])).plus(postings_of([[9]]), None)
    assert_counts(before, [[1, 2], [2]])
    assert_counts(after, [[2], [9]])


@pytest.mark.parametrize("rows", [[[1, 1], [3]], [[9]], [[], [], []]])
def test_statistics_minus_rows_that_were_not_counted_is_refused(rows: list[Row]) -> None:
    statistics = TermStatistics.empty().plus(postings_of([[1], [2]]), None)
    with pytest.raises(ValueError, match="never counted"):
        statistics.minus(postings_of(rows), None)


@UNTIMED
@given(CORPORA)
def test_statistics_from_their_arrays_are_the_same_and_go_on(rows: list[Row]) -> None:
    postings = postings_of(rows)
    original = TermStatistics.empty().plus(postings, None)
    loaded = TermStatistics.from_arrays({**original.arrays(), "other": np.zeros(1)})
    assert_counts(loaded, rows)
    assert_counts(loaded.plus(postings, None), rows + rows)
    assert loaded.nbytes == original.nbytes


def test_statistics_from_read_only_mapped_arrays_take_further_changes(tmp_path: Path) -> None:
    postings = postings_of([[1, 2], [2]])
    for name, array in TermStatistics.empty().plus(postings, None).arrays().items():
        np.save(tmp_path / f"{name}.npy", array)
    mapped = {path.stem: np.load(path, mmap_mode="r") for path in tmp_path.iterdir()}
    loaded = TermStatistics.from_arrays(mapped)
    assert_counts(loaded.minus(postings, np.array([0])), [[2]])
    assert_counts(loaded, [[1, 2], [2]])
