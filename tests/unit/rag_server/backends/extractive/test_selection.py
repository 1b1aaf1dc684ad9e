from __future__ import annotations

import numpy as np

from rag_server.backends.extractive.candidates import CandidateSentence
from rag_server.backends.extractive.selection import fit, rank, select
from rag_server.domain.document import Span


def candidate(text: str) -> CandidateSentence:
    return CandidateSentence(0, Span(0, len(text)), text, frozenset(), frozenset(), frozenset())


def count(text: str) -> int:
    return len(text.split())


def test_rank_ties_keep_the_order() -> None:
    assert rank(np.array([0.1, 0.9, 0.9])) == [1, 2, 0]


def test_select_takes_at_most_the_limit() -> None:
    assert select(np.array([0.5, 0.9, 0.8, 0.7]), 3) == [1, 2, 3]


def test_select_leaves_out_what_is_much_worse_than_the_best() -> None:
    assert select(np.array([0.47, 0.8, 0.49]), 3) == [1, 2]


def test_select_higher_support_ratio_leaves_out_more() -> None:
    assert select(np.array([0.5, 0.8, 0.53]), 3, support_ratio=0.65) == [1, 2]


def test_select_best_is_taken_whatever_its_score() -> None:
    assert select(np.array([-0.2, -0.1]), 3) == [1]


def test_fit_skips_what_does_not_fit_and_says_so() -> None:
    chosen = [candidate("a b c"), candidate("a b c d"), candidate("e")]
    kept, all_fit = fit(chosen, 4, count)
    assert [(c.text, tokens) for c, tokens in kept] == [("a b c", 3), ("e", 1)]
    assert not all_fit


def test_fit_exact_budget_fits() -> None:
    kept, all_fit = fit([candidate("a b")], 2, count)
    assert len(kept) == 1
    assert all_fit
