"""Which sentences may stand in an answer: statements, not questions, headings or debris of a layout."""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W_]+")
_WORDS = re.compile(r"(?:[\W_]*+[^\W_]++){3}")
"""The beginning of what has `_MIN_WORDS` or more."""
_UNWRITTEN = re.compile(r"[^\w\s]+|_+")
"""What is neither letter nor digit nor space."""
_CLOSING = "\"'”’»)] "
_MIN_WORDS = 3
"""Fewer words, unless they are closed like a sentence, are captions, cell contents, labels."""
_MIN_CLOSED_WORDS = 2
_MIN_WORD_SHARE = 0.7
"""Share of letters, digits and spaces below which a run is markup, code or a table's rule."""


def is_quotable(sentence: str) -> bool:
    """Whether `sentence` says something that a reader may be shown as an answer.

    Rows of tables and lines of code pass if they are mostly words: a price list may be the answer.
    """
    ending = sentence.rstrip(_CLOSING)[-1:]
    if sentence.startswith("#") or ending in "?؟？":
        return False
    if _WORDS.match(sentence) is None:  # fewer: seldom, so that only these are counted
        words = _WORD.findall(sentence)
        least = _MIN_CLOSED_WORDS if ending in ".!" else _MIN_WORDS
        if len(words) < least and not any(len(word) > 1 and _is_unspaced(word[0]) for word in words):
            return False
    written = len(sentence) - sum(map(len, _UNWRITTEN.findall(sentence)))
    return written >= _MIN_WORD_SHARE * len(sentence)


def _is_unspaced(char: str) -> bool:
    """Whether `char` is of a script whose sentences show no words (Thai to Khmer, kana, Han)."""
    return "\u0e00" <= char <= "\u0eff" or "\u1000" <= char <= "\u109f" or "\u1780" <= char <= "\u9fff"
