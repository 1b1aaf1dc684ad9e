"""Reads the operators of a query: phrases in quotes that results must hold, and what they must not hold.

The rules, for `QuerySyntax.OPERATORS`:

- A phrase stands between two straight quotes, or between “ and ”, or « and ». A quote without its partner is
  text. So is a straight quote directly after a letter or digit, where none can open: `a 19" rack`.
- `-` excludes the word, or the phrase, that directly follows it, but only at the start of the text or after
  white space: `-draft`, `-"first draft"`. A word begins with a letter and ends at the next white space. So
  `-5`, `- item`, `DTE-33`, `a-b`, `--verbose` and `2010-2020` are text, and so is `-` before a lone quote.
- A phrase, or an exclusion, without a lexeme (empty, punctuation, stop words only) asks for nothing.

No text is wrong: what is no operator is text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from rag_server.domain.lexical import LexicalQuery, Phrase
from rag_server.domain.retrieval import QuerySyntax
from rag_server.text.analyzer import Analyzer

_CLOSING = {'"': '"', "“": "”", "«": "»"}
_SIGNS = frozenset({"-", *_CLOSING})


@dataclass(frozen=True, slots=True)
class ParsedQuery:
    """A query taken apart; white space is single everywhere."""

    text: str
    """What is embedded: the query without its exclusions and without the quotes of its phrases. May be
    empty, when the query says only what is not wanted."""
    wanted: str
    """What is scored: `text`, but with white space around each phrase, so that its words are analysed as
    those of the phrase are (`"a"-1` is no code)."""
    phrases: tuple[str, ...] = ()
    """What must be there, word for word."""
    excluded: tuple[str, ...] = ()
    """The words and phrases that must not be there."""


def parse(text: str, syntax: QuerySyntax) -> ParsedQuery:
    """Take `text` apart. O(length), whatever stands in it."""
    if syntax is QuerySyntax.PLAIN:
        return ParsedQuery(_tidy(text), _tidy(text))
    pieces = list(_pieces(text))
    wanted = (f" {_text_of(piece)} " if piece.kind is not _Kind.TEXT else piece.text for piece in pieces)
    return ParsedQuery(
        text=_tidy(_spaced(map(_text_of, pieces))),
        wanted=_tidy("".join(wanted)),
        phrases=_texts(pieces, _Kind.PHRASE),
        excluded=_texts(pieces, _Kind.EXCLUDED),
    )


def to_lexical(parsed: ParsedQuery, analyzer: Analyzer) -> LexicalQuery:
    """Return what `parsed` asks of the passages of a collection whose texts `analyzer` analyses."""
    return LexicalQuery(
        terms=tuple(analyzer.analyze(parsed.wanted)),
        phrases=_lexemes(parsed.phrases, analyzer),
        excluded=_lexemes(parsed.excluded, analyzer),
    )


def _lexemes(texts: Iterable[str], analyzer: Analyzer) -> tuple[Phrase, ...]:
    """Return the lexemes of each text that has any, each phrase once."""
    phrases = (tuple(analyzer.analyze(text)) for text in texts)
    return tuple(dict.fromkeys(phrase for phrase in phrases if phrase))


class _Kind(Enum):
    TEXT = 0
    PHRASE = 1
    EXCLUDED = 2


@dataclass(frozen=True, slots=True)
class _Piece:
    kind: _Kind
    text: str
    end: int
    """Where the query goes on."""


def _pieces(text: str) -> Iterator[_Piece]:
    """Yield the parts of `text` in order."""
    last = {opening: text.rfind(closing) for opening, closing in _CLOSING.items()}
    plain_from = position = 0
    while position < len(text):
        operator = _operator(text, position, last) if text[position] in _SIGNS else None
        if operator is None:
            position += 1
            continue
        if plain_from < position:
            yield _Piece(_Kind.TEXT, text[plain_from:position], position)
        yield operator
        plain_from = position = operator.end
    yield _Piece(_Kind.TEXT, text[plain_from:], len(text))


def _operator(text: str, position: int, last: dict[str, int]) -> _Piece | None:
    """Return the phrase or exclusion that starts at `position`, if one does."""
    before = text[position - 1] if position else " "
    if text[position] != "-":
        is_open = text[position] in _CLOSING and not (text[position] == '"' and before.isalnum())
        return _quoted(text, position, last, _Kind.PHRASE) if is_open else None
    start = position + 1
    if not before.isspace() or start == len(text):
        return None
    if not text[start].isalpha():
        return _quoted(text, start, last, _Kind.EXCLUDED)
    end = start
    while end < len(text) and not text[end].isspace():
        end += 1
    return _Piece(_Kind.EXCLUDED, text[start:end], end)


def _quoted(text: str, position: int, last: dict[str, int], kind: _Kind) -> _Piece | None:
    """Return what stands in the quotes that open at `position`, if they do and are closed.

    `last` says where the last closing sign of each opening one stands: looking for one that is not there
    would cost the rest of the text for each quote.
    """
    if last.get(text[position], -1) <= position:
        return None
    end = text.index(_CLOSING[text[position]], position + 1)
    return _Piece(kind, text[position + 1 : end], end + 1)


def _texts(pieces: Iterable[_Piece], kind: _Kind) -> tuple[str, ...]:
    return tuple(filter(None, (_tidy(piece.text) for piece in pieces if piece.kind is kind)))


def _text_of(piece: _Piece) -> str:
    return " " if piece.kind is _Kind.EXCLUDED else piece.text


def _spaced(texts: Iterable[str]) -> str:
    """Join texts so that none of their words become one."""
    joined: list[str] = []
    for text in filter(None, texts):
        if joined and joined[-1][-1].isalnum() and text[0].isalnum():
            joined.append(" ")
        joined.append(text)
    return "".join(joined)


def _tidy(text: str) -> str:
    return " ".join(text.split())
