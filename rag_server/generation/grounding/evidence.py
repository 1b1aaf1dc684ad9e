"""What speaks for a sentence: how near it is to sentences of the passages, in meaning and in words.

The best support is the sentence with the greatest similarity, (cosine + coverage) / 2, where coverage is the
share of the claim's idf mass that a sentence has. Others are added as long as each brings words that the
claim still lacks: what one sentence does not say, two may.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from rag_server.domain.document import Span
from rag_server.domain.grounding import FactKind, Support
from rag_server.generation.grounding.facts import Claimed, Known, known_in
from rag_server.generation.grounding.library import Library, Line

MAX_SUPPORTS: Final = 3
MIN_GAIN: Final = 0.15
"""Share of the claim's idf mass that a further support has to bring."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence that states something."""

    span: Span
    """Within the text."""
    text: str
    lexemes: frozenset[str]
    facts: tuple[Claimed, ...]
    parts: tuple[Claim, ...] = ()
    """Where it joins several statements: these, each of which may have a support of its own."""


@dataclass(frozen=True, slots=True)
class Features:
    """What the score is made of; each from 0 to 1, but the cosine may be below."""

    cosine: float
    """Of the claim and its best support."""
    coverage: float
    """Share of the claim's words in the best support."""
    numbers_elsewhere: float
    """Share of the claim's numbers that the best support lacks."""
    names_elsewhere: float
    """Share of its names that stand neither in a support, nor beside one, nor in a title."""
    denial_differs: float
    """Share of what claim and best support both speak of, and either denies, that only one denies."""

    def array(self) -> npt.NDArray[np.float64]:
        """Return them in order, shape `(5,)`."""
        return np.array(astuple(self), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for one claim, and what it lacks."""

    supports: tuple[Support, ...]
    lines: tuple[Line, ...]
    """Those of the supports."""
    features: Features
    missing: tuple[Claimed, ...]
    """Facts that no support's passage has."""
    parts: tuple[Evidence, ...] = ()
    """Of the statements that the claim joins, if it joins several."""


def joined(whole: Evidence, parts: Sequence[Evidence]) -> Evidence:
    """Return the evidence for a claim with that for its parts: what those have found supports it, too."""
    if not parts:
        return whole
    found: dict[int, tuple[Support, Line]] = {}
    for evidence in (whole, *parts):
        for support, line in zip(evidence.supports, evidence.lines, strict=True):
            if line.index not in found or support.similarity > found[line.index][0].similarity:
                found[line.index] = (support, line)
    best = sorted(found.values(), key=lambda each: -each[0].similarity)[:MAX_SUPPORTS]
    lacking = {each.fact for part in parts for each in part.missing}
    return replace(
        whole,
        supports=tuple(support for support, _ in best),
        lines=tuple(line for _, line in best),
        missing=tuple(each for each in whole.missing if each.fact in lacking),
        parts=tuple(parts),
    )


def evidence_for(
    claim: Claim, library: Library, lines: Sequence[Line], cosines: npt.NDArray[np.float32]
) -> Evidence:
    """Return the evidence.

    Args:
        claim: What is to be supported.
        library: The passages.
        lines: At least one: the sentences that may support it.
        cosines: Of the claim and each of `lines`, `(n,)`.
    """
    coverages = [library.coverage(claim.lexemes, line.lexemes) for line in lines]
    similarities = [
        min(1.0, max(0.0, (float(cosine) + coverage) / 2))
        for cosine, coverage in zip(cosines, coverages, strict=True)
    ]
    best = max(range(len(lines)), key=lambda index: similarities[index])
    chosen = _covering(claim, library, lines, best)
    around = frozenset().union(*(library.around(lines[index]) for index in chosen))
    known = library.known(lines[index] for index in chosen)
    features = Features(
        cosine=float(cosines[best]),
        coverage=coverages[best],
        numbers_elsewhere=_share_elsewhere(claim, FactKind.NUMBER, known_in(lines[best].text, around)),
        names_elsewhere=_share_elsewhere(claim, FactKind.NAME, Known(frozenset(), around)),
        denial_differs=library.denial_differs(claim.text, claim.lexemes, lines[best]),
    )
    supports = tuple(
        Support(lines[index].passage_index, lines[index].span, similarities[index]) for index in chosen
    )
    missing = tuple(each for each in claim.facts if not each.is_in(known))
    return Evidence(supports, tuple(lines[index] for index in chosen), features, missing)


def _covering(claim: Claim, library: Library, lines: Sequence[Line], best: int) -> list[int]:
    """Return the best line and those that bring what it lacks, greedily.

    A line that brings no more than a number or a name is about something else.
    """
    hard = frozenset().union(*(each.lexemes for each in claim.facts))
    chosen, left = [best], claim.lexemes - lines[best].lexemes
    total = sum(map(library.idf, sorted(claim.lexemes)))
    while len(chosen) < MAX_SUPPORTS and left:
        brought = [left & line.lexemes for line in lines]
        gains = [sum(map(library.idf, sorted(each))) if each - hard else 0.0 for each in brought]
        index = max(range(len(lines)), key=lambda each: gains[each])
        if gains[index] < MIN_GAIN * total:
            break
        chosen.append(index)
        left -= lines[index].lexemes
    return chosen


def _share_elsewhere(claim: Claim, kind: FactKind, near: Known) -> float:
    facts = [each for each in claim.facts if each.fact.kind is kind]
    return sum(not each.is_in(near) for each in facts) / len(facts) if facts else 0.0
