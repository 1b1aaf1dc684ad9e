"""Small corpora of numbered terms, and their segments."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from rag_server.query.resident.postings import Postings

Row = list[int]

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

TERMS = st.integers(0, 7)
ROWS = st.lists(TERMS, max_size=10)
CORPORA = st.lists(ROWS, max_size=12)


def postings_of(rows: Sequence[Row]) -> Postings:
    """Index rows given as lists of term ids."""
    offsets = np.array([0, *accumulate(map(len, rows))], np.int64)
    return Postings.build(offsets, np.array([term for row in rows for term in row], np.int32))


def zipf_rows(count: int, *, seed: int, terms: int = 400, length: int = 15) -> list[Row]:
    """Return rows in which few terms are frequent and many are rare, some of them repeated."""
    generator = np.random.default_rng(seed)
    weights = 1 / (np.arange(terms) + 3.0)
    lengths = 1 + generator.poisson(length, count)
    drawn = generator.choice(terms, int(lengths.sum()), p=weights / weights.sum())
    bounds = [0, *accumulate(lengths.tolist())]
    return [drawn[start:end].tolist() for start, end in pairwise(bounds)]
