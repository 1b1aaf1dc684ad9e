from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_server.query.resident.strings import Strings, concatenate_strings

texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), max_size=8)


@settings(deadline=None)
@given(texts)
def test_strings_are_given_back_as_they_were(given_texts: list[str]) -> None:
    strings = Strings.of(given_texts)
    assert len(strings) == len(given_texts)
    assert strings.to_list() == given_texts
    assert [strings[index] for index in range(len(strings))] == given_texts
    again = Strings.from_arrays(strings.arrays("name"), "name")
    assert again.to_list() == given_texts
    assert strings.nbytes == 8 * (len(given_texts) + 1) + sum(len(each.encode()) for each in given_texts)


@settings(deadline=None)
@given(st.data(), st.lists(texts, min_size=1, max_size=3))
def test_strings_concatenated_are_the_chosen_ones_in_order(
    data: st.DataObject, columns: list[list[str]]
) -> None:
    parts, expected = [], []
    for column in columns:
        rows = data.draw(st.lists(st.integers(0, len(column) - 1), max_size=5)) if column else []
        parts.append((Strings.of(column), np.array(rows, np.int64)))
        expected += [column[row] for row in rows]
    assert concatenate_strings(parts).to_list() == expected


def test_strings_taken_stand_in_the_order_asked_for() -> None:
    assert Strings.of(["a", "", "ñ🦜", "d"]).take(np.array([2, 0, 1, 2])).to_list() == ["ñ🦜", "a", "", "ñ🦜"]
    assert concatenate_strings([]).to_list() == []


@pytest.mark.parametrize("column", [["a", "ñandú", ""], []], ids=["some", "none"])
def test_strings_mapped_from_files_are_the_same(tmp_path: Path, column: list[str]) -> None:
    for name, array in Strings.of(column).arrays("texts").items():
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=False)
    mapped = {
        name: np.load(tmp_path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        for name in ("texts.offsets", "texts.data")
        if (tmp_path / f"{name}.npy").stat().st_size > 128 or name == "texts.offsets"
    }
    mapped.setdefault("texts.data", np.zeros(0, np.uint8))  # an empty file cannot be mapped
    assert Strings.from_arrays(mapped, "texts").to_list() == column
