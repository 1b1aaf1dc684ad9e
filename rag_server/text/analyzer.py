"""The lexical analyser: from a text to the lexemes that BM25 counts.

    token -> NFKC, lower case -> stop word? -> Snowball stem -> accents folded -> lexeme

It runs on our side for documents and questions alike, so that every engine sees the same terms.
Words are stemmed as spelt and folded after it: the stemmers' suffix rules know the accents. Codes
and numbers are not stemmed. `ñ` is a letter and no accented `n` in Spanish (`año`, `ano`): it stays
in `es` and `mul`, while an English collection finds `jalapeño` by `jalapeno`.

Stemmers: Porter, "Snowball: A language for stemming algorithms", 2001, https://snowballstem.org.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache

import Stemmer

from rag_server.domain.document import Span
from rag_server.errors import InvalidArgument
from rag_server.text.stop_words import ACCENTED_CONTENT, STOP_WORDS
from rag_server.text.tokens import INVISIBLE, TokenKind, iterate_tokens, kind_of, runs, split_run

MULTILINGUAL = "mul"
"""ISO 639-2 code for collections in several languages: no stemmer, Spanish and English stop words."""

MAX_LEXEME_CHARACTERS = 64
"""Longer tokens (keys, base64, addresses) are shown by `explain` and yield no lexeme."""

_STEMMERS = {
    "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek",
    "en": "english", "eo": "esperanto", "es": "spanish", "et": "estonian", "eu": "basque", "fa": "persian",
    "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian", "hy": "armenian",
    "id": "indonesian", "it": "italian", "lt": "lithuanian", "nb": "norwegian", "ne": "nepali",
    "nl": "dutch", "nn": "norwegian", "no": "norwegian", "pl": "polish", "pt": "portuguese",
    "ro": "romanian", "ru": "russian", "sr": "serbian", "st": "sesotho", "sv": "swedish", "ta": "tamil",
    "tr": "turkish", "yi": "yiddish",
}  # fmt: skip

_AVAILABLE = frozenset(Stemmer.algorithms())

SUPPORTED_LANGUAGES: tuple[str, ...] = (
    *(code for code, name in _STEMMERS.items() if name in _AVAILABLE),
    MULTILINGUAL,
)
"""What `Analyzer.for_language` takes; a region (`es-CL`) is ignored."""

_CACHED_RUNS = 32_768
_INVISIBLE = str.maketrans("", "", INVISIBLE)
_HYPHENS = str.maketrans("\u2010\u2011", "--")
_LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ı": "i"})
# Only on Latin and Greek letters: elsewhere (Indic vowels, й) a mark makes another letter.
_ACCENTED = re.compile(r"([a-zα-ω])[\u0300-\u036f]+")
_ACCENTED_BUT_ENYE = re.compile(r"(n(?!\u0303)|[a-mo-zα-ω])[\u0300-\u036f]+")


@dataclass(frozen=True, slots=True)
class AnalyzedToken:
    """One token and what each step made of it."""

    surface: str
    """As it stands in the text, at `span`."""
    span: Span
    kind: TokenKind
    normalized: str
    """NFKC, lower case, without soft hyphens and joiners."""
    is_stop_word: bool
    stem: str
    """What the stemmer made of `normalized`; equal to it for codes, numbers and stop words."""
    lexeme: str | None
    """The folded stem; None for a stop word and for a token that is too long."""


class Analyzer:
    """Analyses texts of one language. Thread-safe."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._stop_words = STOP_WORDS.get(language, frozenset())
        self._accents = _ACCENTED_BUT_ENYE if language in {"es", MULTILINGUAL} else _ACCENTED
        self._stem_word = _stemmer(language)
        self._lexemes_of_short_run = lru_cache(maxsize=_CACHED_RUNS)(self._lexemes_of)

    @classmethod
    def for_language(cls, language: str, *, path: str = "language") -> Analyzer:
        """Return the analyser for a BCP 47 code or `mul`; the same object for the same language.

        Raises:
            InvalidArgument: `UNSUPPORTED_LANGUAGE`, naming the field `path`, when there is no stemmer for it.
        """
        primary = language.partition("-")[0].lower()
        if primary not in SUPPORTED_LANGUAGES:
            supported = ", ".join(SUPPORTED_LANGUAGES)
            raise InvalidArgument.for_field(
                path, f"must be one of {supported}", reason="UNSUPPORTED_LANGUAGE"
            )
        return _interned(primary)

    def analyze(self, text: str) -> list[str]:
        """Return the lexemes of `text` in order, repeated as often as they occur."""
        lexemes: list[str] = []
        for run in runs(text):
            if len(run) <= MAX_LEXEME_CHARACTERS:
                lexemes += self._lexemes_of_short_run(run)
            else:
                lexemes += self._lexemes_of(run)
        return lexemes

    def explain(self, text: str) -> list[AnalyzedToken]:
        """Return every token of `text` with what each step made of it; its lexemes are `analyze(text)`."""
        return [self._analyzed(text[span.start : span.end], span) for span in iterate_tokens(text)]

    def _lexemes_of(self, run: str) -> tuple[str, ...]:
        tokens = (self._analyzed(run[span.start : span.end], span) for span in split_run(run))
        return tuple(token.lexeme for token in tokens if token.lexeme is not None)

    def _analyzed(self, surface: str, span: Span) -> AnalyzedToken:
        kind = kind_of(surface)
        normalized = _normalize(surface)
        is_stop_word = kind is TokenKind.WORD and self._is_stop_word(normalized)
        too_long = len(normalized) > MAX_LEXEME_CHARACTERS
        stemmed = kind is TokenKind.WORD and not is_stop_word and not too_long
        stem = self._stem_word(normalized) if stemmed else normalized
        lexeme = None if is_stop_word or too_long else _fold(stem, self._accents) or None
        return AnalyzedToken(surface, span, kind, normalized, is_stop_word, stem, lexeme)

    def _is_stop_word(self, word: str) -> bool:
        if word in self._stop_words:
            return True
        if word.isascii() or word in ACCENTED_CONTENT:
            return False
        return _fold(word, _ACCENTED_BUT_ENYE) in self._stop_words


def _normalize(surface: str) -> str:
    if surface.isascii():
        return surface.lower()
    text = unicodedata.normalize("NFKC", surface.translate(_INVISIBLE)).translate(_HYPHENS).lower()
    return unicodedata.normalize("NFC", text)  # lower() may leave a mark behind, as for Turkish İ


def _fold(text: str, accents: re.Pattern[str]) -> str:
    if text.isascii():
        return text
    bare = accents.sub(r"\1", unicodedata.normalize("NFD", text))
    return unicodedata.normalize("NFC", bare).translate(_LETTERS)


def _stemmer(language: str) -> Callable[[str], str]:
    """Return the stemming function; PyStemmer's objects are not thread-safe, so it takes turns."""
    if language == MULTILINGUAL:
        return str
    # Its own cache is off: the analyser caches whole lexemes.
    stemmer = Stemmer.Stemmer(_STEMMERS[language], 0)
    lock = threading.Lock()

    def stem(word: str) -> str:
        with lock:
            return str(stemmer.stemWord(word))

    return stem


@cache
def _interned(language: str) -> Analyzer:
    """One analyser per language and process: what it keeps is a cache of pure results."""
    return Analyzer(language)
