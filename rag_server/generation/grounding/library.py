"""The sentences of passages, and which of them share the words of a claim. Pure CPU: off the event loop."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from rag_server.domain.document import Span
from rag_server.domain.grounding import Passage
from rag_server.generation.grounding.facts import Analyze, Known, known_in, names_in
from rag_server.generation.grounding.negation import denied_in, negates
from rag_server.text.sentences import split_sentences

EMBEDDED: Final = 6
"""Sentences of the passages that are embedded for one of the text."""

_STOPS: Final = ".!…"
_MIN_QUOTE: Final = 3
"""Lexemes below which the same words are no quote: `In Paris.` stands in many places."""


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence of a passage."""

    index: int
    """Among all of the library."""
    passage_index: int
    span: Span
    text: str
    lexemes: frozenset[str]


class Library:
    """The passages that a text is judged by."""

    def __init__(self, passages: Sequence[Passage], analyze: Analyze) -> None:
        """Read passages; of equal sentences in several the first counts."""
        self.passages = passages
        self._analyze = analyze
        self._titles = [frozenset(analyze(each.title)) for each in passages]
        self.lines: list[Line] = []
        self._holders: dict[str, set[int]] = defaultdict(set)
        for index, passage in enumerate(passages):
            for span in split_sentences(passage.text):
                text = passage.text[span.start : span.end]
                if text not in self._holders:
                    lexemes = frozenset(analyze(text))
                    self.lines.append(Line(len(self.lines), index, span, text, lexemes))
                self._holders[text].add(index)
        self._postings: dict[str, list[int]] = defaultdict(list)
        self._own: list[list[Line]] = [[] for _ in passages]
        for line in self.lines:
            self._own[line.passage_index].append(line)
            for lexeme in line.lexemes:
                self._postings[lexeme].append(line.index)
        self._plain = [_plain(passage.text) for passage in passages]
        self._known: dict[int, Known] = {}

    @cached_property
    def names(self) -> frozenset[str]:
        """Lexemes of words that the passages write with a capital within a sentence."""
        return frozenset().union(*(names_in(each.text, self._analyze) for each in self.passages))

    def idf(self, lexeme: str) -> float:
        """Return the weight of a lexeme, above 0: rarer is more."""
        return math.log(1 + (len(self.lines) + 1) / (len(self._postings.get(lexeme, ())) + 0.5))

    def coverage(self, lexemes: AbstractSet[str], by: AbstractSet[str]) -> float:
        """Return the share of the idf mass of `lexemes` that `by` has."""
        weights = {lexeme: self.idf(lexeme) for lexeme in sorted(lexemes)}
        total = sum(weights.values())
        return sum(weight for lexeme, weight in weights.items() if lexeme in by) / total if total else 0.0

    def denial_differs(self, claim: str, lexemes: AbstractSet[str], line: Line) -> float:
        """Return how far a claim, which has `lexemes`, and a line deny what the other one says: 0 to 1.

        Of what both speak of and either denies, it is the share, by idf mass, that only one denies. Where
        there is nothing of that, a claim that negates differs from a line that does not, while what a line
        denies of something else does not matter.
        """
        own, theirs = denied_in(claim, self._analyze), denied_in(line.text, self._analyze)
        shared = (own.lexemes | theirs.lexemes) & lexemes & line.lexemes - own.open - theirs.open
        if not shared:
            return float(negates(claim) and not negates(line.text))
        return self.coverage(shared, own.lexemes ^ theirs.lexemes)

    def nearest(self, lexemes: AbstractSet[str]) -> list[Line]:
        """Return the lines with the most of `lexemes`; of equals, and without any, the first."""
        scores: dict[int, float] = {line.index: 0.0 for line in self.lines[:EMBEDDED]}
        for lexeme in sorted(lexemes):
            weight = self.idf(lexeme)
            for index in self._postings.get(lexeme, ()):
                scores[index] = scores.get(index, 0.0) + weight
        best = sorted(scores, key=lambda index: (-scores[index], index))[:EMBEDDED]
        return [self.lines[index] for index in best]

    def around(self, line: Line) -> frozenset[str]:
        """Return the lexemes of a line, of those beside it in its passage, and of the title."""
        near = self.lines[max(0, line.index - 1) : line.index + 2]
        own = (each.lexemes for each in near if each.passage_index == line.passage_index)
        return self._titles[line.passage_index].union(*own)

    def window(self, line: Line) -> str:
        """Return the text of a line and of those beside it, as it stands in the passage."""
        near = self.lines[max(0, line.index - 1) : line.index + 2]
        spans = [each.span for each in near if each.passage_index == line.passage_index]
        return self.passages[line.passage_index].text[spans[0].start : spans[-1].end]

    def known(self, lines: Iterable[Line]) -> Known:
        """Return what the passages that hold these lines have, with their titles; some may overlap."""
        indices = set().union(*(self._holders[line.text] for line in lines))
        return Known(frozenset(), frozenset()).joined(self._known_of(index) for index in sorted(indices))

    def quoted(self, text: str, lexemes: AbstractSet[str]) -> tuple[int, Span] | None:
        """Return the passage, and the place in it, of whole sentences that have the words of `text`.

        A part of a sentence is no quote: `the bridge is safe` stands in `nobody says the bridge is safe`.
        """
        words = text.strip().rstrip(_STOPS).split()
        if len(lexemes) < _MIN_QUOTE or not words:
            return None
        pattern = re.compile(r"\s+".join(map(re.escape, words)), re.IGNORECASE)
        plain = _plain(" ".join(words))
        for index, passage in enumerate(self.passages):
            if plain not in self._plain[index]:
                continue
            for match in pattern.finditer(passage.text):
                spans = [line.span for line in self._own[index] if line.span.start < match.end()]
                if not any(span.start == match.start() for span in spans):
                    continue
                if not passage.text[match.end() : spans[-1].end].strip(_STOPS):
                    return index, Span(match.start(), spans[-1].end)
        return None

    def _known_of(self, index: int) -> Known:
        if index not in self._known:
            passage = self.passages[index]
            text = f"{passage.title}\n{passage.text}"
            self._known[index] = known_in(text, frozenset(self._analyze(text)))
        return self._known[index]


def _plain(text: str) -> str:
    """Return `text` without what a quote may differ in: quick to search, before places are looked for."""
    return " ".join(text.lower().split())
