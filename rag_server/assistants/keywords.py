"""Routing by keyword: a question that has all words of a keyword in a row.

Words are compared as BM25 compares them: by their lexemes, which leaves case, accents, inflection and stop
words out and never takes a part of a word for the whole. An assistant without a language is compared by the
rules of Spanish and of English: what either finds counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from rag_server.errors import InvalidArgument
from rag_server.text.analyzer import MULTILINGUAL, SUPPORTED_LANGUAGES, Analyzer

_WITHOUT_LANGUAGE: Final = ("es", "en")

AnalyzerFor = Callable[[str], Analyzer]


@dataclass(frozen=True, slots=True)
class KeywordMatch:
    """What the keywords of an assistant have in common with a question."""

    covered: int
    """Lexemes of the question that belong to keywords."""
    share: float
    """Of all its lexemes."""
    keyword: str
    """The longest of those found, in lexemes; of several the first in the assistant's order."""


@dataclass(frozen=True, slots=True)
class Lexemes:
    """The lexemes of a question in order, and where each of them stands."""

    sequence: tuple[str, ...]
    positions: Mapping[str, Sequence[int]]

    @classmethod
    def of(cls, sequence: Iterable[str]) -> Lexemes:
        """Return the lexemes with their positions."""
        lexemes = tuple(sequence)
        positions: dict[str, list[int]] = {}
        for position, lexeme in enumerate(lexemes):
            positions.setdefault(lexeme, []).append(position)
        return cls(lexemes, positions)


class AnalyzedQuestion:
    """A question, analysed once per language."""

    def __init__(self, text: str, analyzer_for: AnalyzerFor = Analyzer.for_language) -> None:
        self._text = text
        self._analyzer_for = analyzer_for
        self._lexemes: dict[str, Lexemes] = {}

    def lexemes(self, language: str) -> Lexemes:
        """Return the lexemes of the question by the rules of a language."""
        if language not in self._lexemes:
            self._lexemes[language] = Lexemes.of(self._analyzer_for(language).analyze(self._text))
        return self._lexemes[language]


class _Keyword(NamedTuple):
    lexemes: tuple[str, ...]
    order: int
    """Its place among those of its assistant."""
    text: str


class KeywordIndex:
    """The keywords of one assistant, ready to be looked for."""

    def __init__(
        self, keywords: Iterable[str], language: str, analyzer_for: AnalyzerFor = Analyzer.for_language
    ) -> None:
        words = list(keywords)
        self._by_first: dict[str, dict[str, list[_Keyword]]] = {}
        for each in languages_of(language):
            index = self._by_first.setdefault(each, {})
            for order, word in enumerate(words):
                lexemes = tuple(analyzer_for(each).analyze(word))
                if lexemes:
                    index.setdefault(lexemes[0], []).append(_Keyword(lexemes, order, word))

    def match(self, question: AnalyzedQuestion) -> KeywordMatch | None:
        """Return what is found in the question; None: no keyword."""
        found = [_match(index, question.lexemes(language)) for language, index in self._by_first.items()]
        # of two languages that find as much the right one is the one that knows the stop words
        return max(
            (each for each in found if each), key=lambda each: (each.covered, each.share), default=None
        )


def _match(index: Mapping[str, Sequence[_Keyword]], lexemes: Lexemes) -> KeywordMatch | None:
    covered: set[int] = set()
    found: list[_Keyword] = []
    for first in index.keys() & lexemes.positions.keys():
        for start in lexemes.positions[first]:
            for keyword in index[first]:
                end = start + len(keyword.lexemes)
                if lexemes.sequence[start:end] == keyword.lexemes:
                    covered.update(range(start, end))
                    found.append(keyword)
    if not found:
        return None
    best = max(found, key=lambda each: (len(each.lexemes), -each.order))
    return KeywordMatch(len(covered), len(covered) / len(lexemes.sequence), best.text)


def languages_of(language: str) -> tuple[str, ...]:
    """Return the languages by whose rules an assistant's keywords are compared."""
    primary = language.partition("-")[0].lower()
    if not primary:
        return _WITHOUT_LANGUAGE
    return (primary if primary in SUPPORTED_LANGUAGES else MULTILINGUAL,)


def check_keywords(
    keywords: Sequence[str],
    language: str,
    analyzer_for: AnalyzerFor = Analyzer.for_language,
    *,
    path: str = "assistant.keywords",
) -> None:
    """Raise `InvalidArgument` for the first keyword that no question could ever have."""
    analyzers = [analyzer_for(each) for each in languages_of(language)]
    for index, word in enumerate(keywords):
        if not any(analyzer.analyze(word) for analyzer in analyzers):
            raise InvalidArgument.for_field(
                f"{path}[{index}]", "has no word but stop words: no question would match it"
            )
