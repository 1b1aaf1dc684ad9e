"""From scored sentences to those that are quoted: the best, what supports it, within the budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rag_server.backends.extractive.candidates import CandidateSentence
from rag_server.backends.extractive.evidence import Scores

SUPPORT_RATIO = 0.6
"""A further sentence must score at least this share of the best one's score.

On XQuAD it spares the reader every sixth quote and loses 0.1 to 0.4 points of the answers."""

ESTIMATED_SUPPORT_RATIO = 0.65
"""The same where the model was not asked: estimates lie closer together than what they are estimates of. So
answers of both kinds have about as many quotes."""


def rank(scores: Scores) -> list[int]:
    """Return the indices of the candidates, best first; ties in the order of the sources."""
    return sorted(range(len(scores)), key=lambda i: (-scores[i], i))


def select(scores: Scores, limit: int, *, support_ratio: float = SUPPORT_RATIO) -> list[int]:
    """Return the indices of at most `limit` of one or more candidates to quote, best first."""
    best, *others = rank(scores)[:limit]
    return [best, *(i for i in others if scores[i] >= support_ratio * scores[best])]


def fit(
    chosen: Sequence[CandidateSentence], max_tokens: int, count: Callable[[str], int]
) -> tuple[list[tuple[CandidateSentence, int]], bool]:
    """Return those of `chosen` that fit the budget, in order, each with its tokens; and whether all did.

    A sentence is quoted whole or left out; a shorter one after it may still fit.
    """
    kept: list[tuple[CandidateSentence, int]] = []
    left = max_tokens
    for candidate in chosen:
        tokens = count(candidate.text)
        if tokens <= left:
            kept.append((candidate, tokens))
            left -= tokens
    return kept, len(kept) == len(chosen)
