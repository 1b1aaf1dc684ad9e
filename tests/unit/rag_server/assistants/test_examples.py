from __future__ import annotations

import numpy as np
import pytest

from rag_server.assistants.examples import Nearest, Vectors, nearest

QUESTION = np.array([1.0, 0.0], np.float32)


def vectors(*rows: tuple[float, float]) -> Vectors:
    return np.array(rows, np.float32).reshape(-1, 2)


def test_nearest_of_all_lists_is_found() -> None:
    found = nearest(QUESTION, [vectors((0.0, 1.0)), vectors(), vectors((-1.0, 0.0), (0.8, 0.6))])
    assert found == Nearest(2, 1, pytest.approx(0.8))


def test_first_of_equals_is_taken() -> None:
    assert nearest(QUESTION, [vectors((0.6, 0.8)), vectors((0.6, 0.8))]) == Nearest(0, 0, pytest.approx(0.6))


def test_without_examples_there_is_none() -> None:
    assert nearest(QUESTION, []) is None
    assert nearest(QUESTION, [vectors()]) is None
