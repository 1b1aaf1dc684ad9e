"""Routing by keyword: a question that has all words of a keyword in a row.

Words are compared as BM25 compares them: by their lexemes, which leaves case, accents, inflection and stop
words out and never takes a part of a word for the whole. An assistant without a language is compared by the
rules of Spanish and of English: what either finds counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

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


class AnalyzedQuestion:
    """A question, analysed once per language."""

    def __init__(self, text: str, analyzer_for: AnalyzerFor = Analyzer.for_language) -> None:
        self._text = text
        self._analyzer_for = analyzer_for
        self._lexemes: dict[str, list[str]] = {}

    def lexemes(self, language: str) -> Sequence[str]:
        """Return the lexemes of the question by the rules of a language."""
        if language not in self._lexemes:
            self._lexemes[language] = self._analyzer_for(language).analyze(self._text)
        return self._lexemes[language]


class KeywordIndex:
    """The keywords of one assistant, ready to be looked for."""

    def __init__(
        self, keywords: Iterable[str], language: str, analyzer_for: AnalyzerFor = Analyzer.for_language
    ) -> None:
        words = list(keywords)
        self._by_first: dict[str, dict[str, list[tuple[tuple[str, ...], str]]]] = {}
        for each in languages_of(language):
            index = self._by_first.setdefault(each, {})
            for word in words:
                lexemes = tuple(analyzer_for(each).analyze(word))
                if lexemes:
                    index.setdefault(lexemes[0], []).append((lexemes, word))

    def match(self, question: AnalyzedQuestion) -> KeywordMatch | None:
        """Return what is found in the question; None: no keyword."""
        found = [self._match(index, question.lexemes(language)) for language, index in self._by_first.items()]
        # of two languages that find as much the right one is the one that knows the stop words
        return max(
            (each for each in found if each), key=lambda each: (each.covered, each.share), default=None
        )

    def _match(
        self, index: dict[str, list[tuple[tuple[str, ...], str]]], lexemes: Sequence[str]
    ) -> KeywordMatch | None:
        covered: set[int] = set()
        best: tuple[int, str] | None = None
        for start, lexeme in enumerate(lexemes):
            for wanted, keyword in index.get(lexeme, ()):
                end = start + len(wanted)
                if tuple(lexemes[start:end]) == wanted:
                    covered.update(range(start, end))
                    if best is None or len(wanted) > best[0]:
                        best = len(wanted), keyword
        if best is None:
            return None
        return KeywordMatch(len(covered), len(covered) / len(lexemes), best[1])


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
