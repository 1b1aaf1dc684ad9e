"""The part of a passage that shows why it was found, with the query's words marked."""

from __future__ import annotations

import re
import unicodedata

from rich.text import Text

from ragctl.output import one_line

SNIPPET_CHARACTERS = 240
MIN_TERM_CHARACTERS = 3
"""Shorter words of a query mark too much, unless they hold a digit."""
MARK = "bold yellow"

_WORD = re.compile(r"[^\W_]+(?:[-.'’][^\W_]+)*")


def folded(text: str) -> str:
    """Return the text in lower case without accents, for comparison."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(each for each in decomposed if not unicodedata.combining(each))


def query_terms(query: str) -> list[str]:
    """Return the folded words of a query that are worth marking."""
    words = [folded(match[0]) for match in _WORD.finditer(query)]
    return [
        word
        for word in dict.fromkeys(words)
        if len(word) >= MIN_TERM_CHARACTERS or any(character.isdigit() for character in word)
    ]


def term_spans(text: str, terms: list[str]) -> list[tuple[int, int]]:
    """Return where words of `text` that match a term stand, as ranges of code points.

    A word matches when it equals a term, or begins with the term but for its last two letters (at least
    four letters): inflections of a word are marked, as the server's stemmer finds them.
    """
    stems = tuple(term[: max(4, len(term) - 2)] for term in terms if len(term) > MIN_TERM_CHARACTERS)
    spans = []
    for match in _WORD.finditer(text):
        word = folded(match[0])
        if word in terms or (stems and word.startswith(stems)):
            spans.append(match.span())
    return spans


def snippet(text: str, query: str, length: int = SNIPPET_CHARACTERS) -> Text:
    """Return the part of `text`, at most `length` characters, with the most marked words, on one line."""
    line = one_line(text)
    spans = term_spans(line, query_terms(query))
    start = _best_start(line, spans, length)
    end = min(len(line), start + length)
    if end < len(line):
        end = line.rfind(" ", start, end) if " " in line[start:end] else end
    shown = Text("…" if start else "")
    shift = len(shown) - start
    shown.append(line[start:end])
    for first, last in spans:
        if start <= first and last <= end:
            shown.stylize(MARK, first + shift, last + shift)
    if end < len(line):
        shown.append("…")
    return shown


def _best_start(line: str, spans: list[tuple[int, int]], length: int) -> int:
    if len(line) <= length or not spans:
        return 0
    # A window that begins a little before a marked word shows the words that lead to it.
    starts = [max(0, first - length // 6) for first, _ in spans]
    counts = [sum(start <= first and last <= start + length for first, last in spans) for start in starts]
    start = starts[counts.index(max(counts))]
    if start == 0:
        return 0
    space = line.find(" ", start)
    return space + 1 if 0 <= space < start + length // 6 else start
