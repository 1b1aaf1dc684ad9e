"""Words and phrases that are not to be told: whole words, whatever their case and accents.

`ano` does not find `año`: the letter is another one. Invisible characters within a word do not hide it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from rag_server.generation.filters.filter import Action, Found

MAX_WORDS: Final = 8
MAX_WORD_CHARACTERS: Final = 48
_MAX_GAP: Final = 8
"""Code points between two words of a phrase, at most."""

_INVISIBLE: Final = "\u00ad\u200b-\u200f\u2060\ufeff"
_WORD: Final = re.compile(rf"[\w\u0300-\u036f{_INVISIBLE}]+")
_INVISIBLES: Final = re.compile(f"[{_INVISIBLE}]")
_MARKS: Final = re.compile("(?<!n)[\u0300-\u036f]+|(?<=n)(?!\u0303)[\u0300-\u036f]+")


class BlocklistError(ValueError):
    """A phrase cannot be looked for; the text says why."""


class _Word(NamedTuple):
    folded: str
    start: int
    end: int


def fold(word: str) -> str:
    """Return a word in lower case, without accents and what cannot be seen; `ñ` stays."""
    visible = _INVISIBLES.sub("", word)
    bare = _MARKS.sub("", unicodedata.normalize("NFKD", visible).casefold())
    return unicodedata.normalize("NFC", bare)


class BlocklistFilter:
    """A `Filter` for a list of phrases."""

    name = "blocklist"
    reach = MAX_WORDS * (MAX_WORD_CHARACTERS + _MAX_GAP)

    def __init__(self, phrases: Iterable[str], action: Action = Action.REFUSE) -> None:
        """Look for `phrases`.

        Raises:
            BlocklistError: One has no word, more than `MAX_WORDS`, or one that is too long.
        """
        self.action = action
        self._phrases = {_words_of(phrase) for phrase in phrases}
        self._beginnings = {phrase[:count] for phrase in self._phrases for count in range(1, len(phrase))}

    def find(self, text: str, offset: int = 0) -> Sequence[Found]:
        """Return the longest phrase at each place, from left to right."""
        words = list(_words(text))
        found: list[Found] = []
        position = 0
        while position < len(words):
            count = max(self._lengths_at(words, position), default=0)
            if count:
                found.append(Found(words[position].start, words[position + count - 1].end, "blocked"))
            position += max(1, count)
        return found

    def undecided(self, text: str) -> int:
        """Return where the first phrase may begin that the words at the end do not finish."""
        words = list(_words(text[-self.reach :]))[-MAX_WORDS:]
        cut = max(0, len(text) - self.reach)
        for position in range(len(words)):
            if tuple(word.folded for word in words[position:]) in self._beginnings:
                return cut + words[position].start
        return len(text)

    def _lengths_at(self, words: Sequence[_Word], position: int) -> Iterator[int]:
        """Yield the numbers of words of the phrases that begin at a place."""
        beginning: tuple[str, ...] = ()
        for count, word in enumerate(words[position : position + MAX_WORDS], 1):
            if count > 1 and word.start - words[position + count - 2].end > _MAX_GAP:
                return
            beginning = (*beginning, word.folded)
            if beginning in self._phrases:
                yield count
            if beginning not in self._beginnings:
                return


def _words(text: str) -> Iterator[_Word]:
    for match in _WORD.finditer(text):
        if match.end() - match.start() <= MAX_WORD_CHARACTERS:
            yield _Word(fold(match.group()), match.start(), match.end())


def _words_of(phrase: str) -> tuple[str, ...]:
    words = tuple(word.folded for word in _words(phrase))
    if not words or len(words) > MAX_WORDS or len(words) < len(_WORD.findall(phrase)):
        raise BlocklistError(
            f"{phrase[:64]!r} must have 1 to {MAX_WORDS} words of at most {MAX_WORD_CHARACTERS} characters"
        )
    return words
