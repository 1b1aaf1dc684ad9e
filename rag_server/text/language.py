"""Tells Spanish from English by function words and letters; made for short questions.

Each word that is a function word of one language only is a vote, and so are Spanish letters and
inverted marks. Frequent short words identify a language in a handful of words: Grefenstette,
"Comparing two language identification schemes", 1995.
"""

from __future__ import annotations

import re

from rag_server.text.stop_words import ENGLISH, SPANISH

_WORD = re.compile(r"[^\W\d_]+")
_SPANISH_LETTER = re.compile(r"[ñáéíóúü]", re.IGNORECASE)
_SPANISH_MARK = re.compile(r"[¿¡]")
_ACCENTS = str.maketrans("áéíóúü", "aeiouu")

# Single letters are initials and list items as often as they are words.
_ONLY_ENGLISH = frozenset(word for word in ENGLISH - SPANISH if len(word) > 1) - {"don"}
_ONLY_SPANISH = frozenset(word for word in SPANISH - ENGLISH if len(word) > 1)

_MARK_VOTES = 2


def detect_language(text: str) -> str:
    """Return `es`, `en`, or the empty string when there is no evidence or as much for both."""
    english = spanish = 0
    for word in _WORD.findall(text.lower()):
        bare = word.translate(_ACCENTS)
        english += word in _ONLY_ENGLISH
        spanish += bare in _ONLY_SPANISH or _SPANISH_LETTER.search(word) is not None
    spanish += _MARK_VOTES * (_SPANISH_MARK.search(text) is not None)
    if english == spanish:
        return ""
    return "en" if english > spanish else "es"
