"""The language of a document: what it declares, else what its words say (py3langid, after langid.py).

Marco Lui and Timothy Baldwin, "langid.py: An Off-the-shelf Language Identification Tool", ACL 2012. The model
is part of the package, needs no network and always says the same of the same text. It takes 75 MB and a
second to load, through a temporary file: hence in the worker, once, and not in the processes that parse.
"""

from __future__ import annotations

import functools
import re
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from rag_server.domain.document import BlockKind, ParsedDocument

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_DECLARED = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8})*\Z")
_PROSE = {BlockKind.PARAGRAPH, BlockKind.LIST, BlockKind.HEADING}
_NO_WORD = re.compile(r"\S*(?:[\d_/\\@<>{}=]|\w\.\w)\S*")
"""Addresses, numbers, paths, names of code and markup: they look like English in every language."""
_MIN_LETTERS = 60
_SAMPLE_CHARACTERS = 1_500
_SAMPLES = 3
_MIN_CONFIDENCE = 0.8
_MIN_SHARE = 0.6
"""Of the samples that have to agree."""
_load_lock = threading.Lock()


def declared_language(code: str) -> str:
    """Return `code` if it has the form of a BCP 47 code, else an empty string."""
    code = code.strip().replace("_", "-")
    return code if _DECLARED.match(code) else ""


def with_language(parsed: ParsedDocument) -> ParsedDocument:
    """Return `parsed` with the language that it declares, or else the one that its words are in.

    CPU work of milliseconds, the first time of a second: call it off the event loop.
    """
    return parsed if parsed.language else replace(parsed, language=detect_language(parsed))


def detect_language(parsed: ParsedDocument) -> str:
    """Return the ISO 639 code of the language that most of the prose of `parsed` is in.

    Empty where it has too little prose to tell, or too many languages: a guess would be worse than none.
    """
    votes: Counter[str] = Counter()
    samples = list(_samples(parsed))
    if sum(map(len, samples)) <= _SAMPLE_CHARACTERS:
        samples = [" ".join(samples)]
    samples = [sample for sample in samples if sum(map(str.isalpha, sample)) >= _MIN_LETTERS]
    for sample in samples:
        with _load_lock:
            identifier = _identifier()
        code, confidence = identifier.classify(sample)
        if confidence >= _MIN_CONFIDENCE:
            votes[code] += 1
    if not votes:
        return ""
    best, count = min(votes.items(), key=lambda vote: (-vote[1], vote[0]))
    return best if count >= _MIN_SHARE * len(samples) else ""


def _samples(parsed: ParsedDocument) -> Iterator[str]:
    """Yield prose from the start, the middle and the end of a long document, or all that a short one has."""
    prose = [block.span for block in parsed.blocks if block.kind in _PROSE]
    for number in range(_SAMPLES):
        pieces: list[str] = []
        length = 0
        for span in prose[number * len(prose) // _SAMPLES : (number + 1) * len(prose) // _SAMPLES]:
            piece = _NO_WORD.sub(
                " ", parsed.text[span.start : min(span.end, span.start + _SAMPLE_CHARACTERS)]
            )
            pieces.append(piece)
            length += len(piece)
            if length >= _SAMPLE_CHARACTERS:
                break
        if pieces:
            yield " ".join(" ".join(pieces).split())


@functools.cache
def _identifier() -> LanguageIdentifier:
    """Return the model; it takes a moment to load and is not changed by its use."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
