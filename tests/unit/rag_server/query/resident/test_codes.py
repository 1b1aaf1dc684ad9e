"""Codes: what they nominate, files of them, stopping a build."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rag_server.query.resident.codes import Codes
from rag_server.query.resident.index_file import CorruptIndex
from tests.unit.rag_server.query.resident.dense_vectors import Floats, ranking, recall, texts_like

VECTORS = texts_like(5000)
QUERIES = texts_like(20, seed=1)


def build(vectors: Floats) -> Codes:
    codes = Codes.build(vectors)
    assert codes is not None
    return codes


CODES = build(VECTORS)


def test_nominate_of_a_tenth_of_the_rows_holds_nearly_all_of_the_ten_best() -> None:
    recalls = [recall(CODES.nominate(query, 500)[0], ranking(VECTORS, query)[:10]) for query in QUERIES]

    assert np.mean(recalls) > 0.99


def test_nominate_with_a_mask_returns_rows_that_pass_best_first() -> None:
    mask = np.random.default_rng(0).random(len(VECTORS)) < 0.03

    rows, scores = CODES.nominate(QUERIES[0], 1000, mask)

    assert sorted(rows.tolist()) == np.flatnonzero(mask).tolist()
    assert (np.diff(scores) <= 0).all()


@pytest.mark.parametrize("dimension", [1, 5, 6, 8])
def test_build_of_any_dimension_codes_every_row(dimension: int) -> None:
    vectors = texts_like(60, dimension)

    codes = build(vectors)

    assert len(codes) == 60
    for row in range(60):
        assert row in codes.nominate(vectors[row], 59)[0]


def test_build_of_the_same_vectors_makes_the_same_codes() -> None:
    again = build(VECTORS)

    for query in QUERIES:
        for one, other in zip(CODES.nominate(query, 100), again.nominate(query, 100), strict=True):
            assert one.tolist() == other.tolist()


def test_build_that_is_stopped_returns_none() -> None:
    assert Codes.build(VECTORS, should_stop=lambda: True) is None


def test_codes_take_a_fraction_of_the_vectors_room() -> None:
    assert CODES.code_bytes == VECTORS.shape[1] / 3 / 2
    assert len(VECTORS) * CODES.code_bytes < CODES.nbytes < VECTORS.nbytes / 10


def test_open_of_written_codes_nominates_the_same(tmp_path: Path) -> None:
    CODES.write(tmp_path / "codes")

    opened = Codes.open(tmp_path / "codes")

    rows, scores = opened.nominate(QUERIES[0], 50)
    assert rows.tolist() == CODES.nominate(QUERIES[0], 50)[0].tolist()
    assert scores.tolist() == CODES.nominate(QUERIES[0], 50)[1].tolist()
    assert opened.nbytes == CODES.nbytes


@pytest.mark.parametrize("kept", [0, 3, 100, 20_000])
def test_open_of_a_file_cut_short_raises_corrupt_index(tmp_path: Path, kept: int) -> None:
    CODES.write(tmp_path / "codes")
    content = (tmp_path / "codes").read_bytes()
    (tmp_path / "codes").write_bytes(content[:kept])

    with pytest.raises(CorruptIndex, match="codes"):
        Codes.open(tmp_path / "codes")


def test_open_of_a_file_that_is_not_there_raises_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Codes.open(tmp_path / "codes")


def test_write_into_a_folder_that_is_not_there_raises_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        CODES.write(tmp_path / "none" / "codes")
