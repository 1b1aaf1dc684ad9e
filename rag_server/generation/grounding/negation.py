"""What a sentence denies: the words that a negation reaches, in Spanish and English.

A long sentence denies one thing and states others, so that it does not do to ask whether it negates. From a
negation on, everything up to the next clause is denied, or all of its clause where nothing follows:
Chapman et al., "A simple algorithm for identifying negated findings and diseases in discharge summaries",
Journal of Biomedical Informatics 34, 2001. Like that one it reads no grammar, and takes too much for denied
rather than too little.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import groupby
from typing import Final, NamedTuple

from rag_server.generation.grounding.facts import Analyze

_NEGATION: Final = re.compile(
    r"\b(?:not(?! (?:only|just|merely)\b)|no(?! (?:s[oó]lo|solamente|obstante|doubt)\b|\. ?\d)"
    r"|never|none|nobody|nothing|neither|nor|without(?! (?:a )?doubt\b)|cannot|\w+n['’]t"
    r"|nunca|jamás|nadie|nada|ningun[oa]s?|ningún|ni|sin(?! (?:embargo|duda)\b)|tampoco)\b",
    re.IGNORECASE,
)
_BREAK: Final = re.compile(
    r"[,;:()—–]|\b(?:but|although|though|while|whereas|pero|aunque|mientras|sino)\b", re.IGNORECASE
)
_MIN_CLAUSE: Final = 3
"""Lexemes after a comma that make a clause of its own; fewer are the next item of a list."""


class Denied(NamedTuple):
    """What a sentence denies."""

    lexemes: frozenset[str]
    """That it denies wherever it says them."""
    open: frozenset[str]
    """That it both denies and states, of different things: they tell nothing."""


def negates(text: str) -> bool:
    """Return whether a sentence has a word that negates. `not only`, `sin embargo` and their like do not."""
    return _NEGATION.search(text) is not None


def denied_in(text: str, analyze: Analyze) -> Denied:
    """Return what a sentence denies, in lexemes."""
    edges = _clause_edges(text, analyze)
    reached = [False] * len(text)
    for negation in _NEGATION.finditer(text):
        if reached[negation.start()]:  # by another one of its clause
            continue
        clause = bisect_right(edges, negation.start())
        start, end = negation.end(), edges[clause]
        if not analyze(text[start:end]):  # `Safe it is not.`
            start = edges[clause - 1]
        reached[start:end] = [True] * (end - start)
    denied, stated = set[str](), set[str]()
    position = 0
    for is_denied, places in groupby(reached):
        end = position + sum(1 for _ in places)
        (denied if is_denied else stated).update(analyze(text[position:end]))
        position = end
    return Denied(frozenset(denied - stated), frozenset(denied & stated))


def _clause_edges(text: str, analyze: Analyze) -> list[int]:
    """Return where clauses begin, and the end of the last one."""
    edges, breaks = [0], list(_BREAK.finditer(text))
    for index, found in enumerate(breaks, 1):
        end = breaks[index].start() if index < len(breaks) else len(text)
        if found.group() != "," or len(set(analyze(text[found.end() : end]))) >= _MIN_CLAUSE:
            edges.append(found.start())
    return [*edges, len(text)]
