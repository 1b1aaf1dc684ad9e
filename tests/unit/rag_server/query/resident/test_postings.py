from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.domain.lexical import Bm25
from rag_server.query.resident import postings as subject
from rag_server.query.resident.postings import Postings, ranges
from tests.unit.rag_server.query.resident.lexical_corpora import CORPORA, UNTIMED, Row, postings_of, zipf_rows


def inverted(rows: list[Row]) -> dict[int, list[tuple[int, int]]]:
    """Return (row, frequency) by term, in plain Python."""
    lists: dict[int, list[tuple[int, int]]] = {}
    for row, terms in enumerate(rows):
        for term, frequency in Counter(terms).items():
            lists.setdefault(term, []).append((row, frequency))
    return lists


def lists_of(postings: Postings) -> dict[int, list[tuple[int, int]]]:
    everything = postings.lists(np.arange(len(postings.term_ids)))
    return {
        int(term): list(zip(each.rows.tolist(), each.frequencies.tolist(), strict=True))
        for term, each in zip(postings.term_ids, everything, strict=True)
    }


@UNTIMED
@given(CORPORA)
def test_postings_lists_are_those_of_the_rows(rows: list[Row]) -> None:
    postings = postings_of(rows)
    assert lists_of(postings) == inverted(rows)
    assert postings.term_ids.tolist() == sorted(inverted(rows))
    assert len(postings) == len(rows)
    assert postings.lengths.tolist() == [len(row) for row in rows]


@UNTIMED
@given(CORPORA, st.booleans())
def test_postings_frequencies_at_rows_are_those_of_the_rows(rows: list[Row], has_columns: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject, "_COLUMN_ROWS", 1 if has_columns else 1000)
        postings = postings_of(rows)
    assert len(postings.column_slots) <= (len(postings.term_ids) if has_columns else 0)
    everything = np.arange(len(rows), dtype=np.int32)
    for term, each in zip(
        postings.term_ids.tolist(), postings.lists(np.arange(len(postings.term_ids))), strict=True
    ):
        assert each.frequencies_at(everything).tolist() == [row.count(term) for row in rows]
        impacts = dict(zip(each.rows.tolist(), each.impacts.tolist(), strict=True))
        assert each.impacts_at(everything).tolist() == [impacts.get(row, 0) for row in range(len(rows))]


def test_postings_terms_in_an_eighth_of_the_rows_have_columns() -> None:
    rows = [[0, 1 + (row % 8 == 0), 3 + row % 16] for row in range(1024)]
    postings = postings_of(rows)
    assert postings.term_ids[postings.column_slots].tolist() == [0, 1, 2]
    assert postings.frequency_columns.shape == postings.impact_columns.shape == (3, 1024)


@UNTIMED
@given(CORPORA, st.floats(0, 3), st.floats(0, 1), st.floats(0.5, 30))
def test_postings_impacts_bound_what_a_term_adds_under_any_parameters(
    rows: list[Row], k1: float, b: float, average: float
) -> None:
    postings = postings_of(rows)
    base, slope = k1 * (1 - b), k1 * b / average
    scale = postings.impact_scale(base, slope)
    slots = np.arange(len(postings.term_ids))
    for each, highest in zip(postings.lists(slots), postings.highest_impacts, strict=True):
        parts = each.frequencies / (each.frequencies + base + slope * postings.lengths[each.rows])
        assert (parts <= scale * each.impacts * (1 + 1e-12)).all()
        assert each.impacts.max() == highest


def test_postings_impacts_under_the_parameters_of_the_build_are_tight() -> None:
    rows = zipf_rows(300, seed=1)
    parameters = Bm25(k1=0.9, b=0.4)
    offsets, terms = postings_of(rows).sequence_offsets, postings_of(rows).sequence_terms
    postings = Postings.build(offsets, terms, parameters)
    base, slope = 0.9 * 0.6, 0.9 * 0.4 / postings.lengths.mean()
    parts = postings.frequencies / (postings.frequencies + base + slope * postings.lengths[postings.rows])
    bounds = postings.impact_scale(base, slope) * postings.impacts
    assert (bounds - parts <= 1 / 255 + 1e-12).all()


@pytest.mark.parametrize(
    ("repetitions", "dtype"),
    [(255, np.uint8), (256, np.uint16), (65_535, np.uint16), (65_536, np.uint32)],
)
def test_postings_frequency_of_a_term_repeated_often_is_exact(
    repetitions: int, dtype: type[np.unsignedinteger]
) -> None:
    postings = postings_of([[5] * repetitions, [5, 6]])
    assert postings.frequencies.dtype == dtype
    assert lists_of(postings) == {5: [(0, repetitions), (1, 1)], 6: [(1, 1)]}


def test_postings_large_ids_and_many_rows_stay_apart() -> None:
    highest = np.iinfo(np.int32).max
    rows = [[highest, 0], *([[1]] * 1000), [highest, highest]]
    assert lists_of(postings_of(rows)) == inverted(rows)


def test_postings_of_no_rows_and_of_empty_rows_are_empty() -> None:
    for rows in ([], [[]], [[], []]):
        postings = postings_of(rows)
        assert len(postings) == len(rows)
        assert lists_of(postings) == {}
        assert not postings.slots_of(np.array([3], np.int32))[1].any()
        assert postings.impact_scale(1.0, 1.0) > 0


@UNTIMED
@given(CORPORA, st.lists(st.integers(0, 9), max_size=6))
def test_postings_slots_are_found_for_the_terms_there_are(rows: list[Row], wanted: list[int]) -> None:
    postings = postings_of(rows)
    slots, is_there = postings.slots_of(np.array(wanted, np.int32))
    known = inverted(rows)
    assert is_there.tolist() == [term in known for term in wanted]
    assert postings.term_ids[slots[is_there]].tolist() == [term for term in wanted if term in known]


def test_postings_from_read_only_mapped_arrays_are_the_same(tmp_path: Path) -> None:
    rows = zipf_rows(200, seed=3)
    original = postings_of(rows)
    for name, array in original.arrays().items():
        np.save(tmp_path / f"{name}.npy", array)
    mapped = {path.stem: np.load(path, mmap_mode="r") for path in tmp_path.iterdir()}
    loaded = Postings.from_arrays(mapped)
    assert loaded.nbytes == original.nbytes == sum(array.nbytes for array in mapped.values())
    assert lists_of(loaded) == lists_of(original) == inverted(rows)
    assert not loaded.rows.flags.writeable
    assert all(type(array) is np.ndarray for array in loaded.arrays().values())


def test_postings_from_arrays_without_one_of_them_are_refused() -> None:
    arrays = postings_of([[1]]).arrays()
    del arrays["impacts"]
    with pytest.raises(KeyError, match="impacts"):
        Postings.from_arrays(arrays)


@UNTIMED
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=8))
def test_ranges_are_those_of_python(pairs: list[tuple[int, int]]) -> None:
    starts, lengths = (np.array([pair[place] for pair in pairs], np.int64) for place in (0, 1))
    expected = [number for start, length in pairs for number in range(start, start + length)]
    assert ranges(starts, lengths).tolist() == expected
