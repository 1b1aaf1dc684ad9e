"""Names of documents, derived from the paths of files."""

from __future__ import annotations

import hashlib
import re
import unicodedata

VALID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@+=-]{0,254}")
"""The contract's pattern of a document id."""
MAX_LENGTH = 255

_FOREIGN = re.compile(r"[^A-Za-z0-9_.:/@+=-]+")
_DIGEST_DIGITS = 8


def document_id_for(relative_path: str) -> str:
    """Return the id of the document at a path, which has `/` between its parts.

    The path itself where it is a valid id. Otherwise accents are folded, other characters become `-`, and
    eight digits of the path's SHA-256 digest are put before the ending, so that two paths that differ never
    become one document: `informe año.pdf` -> `informe-ano-6f0c1b2a.pdf`. The same path gives the same id
    every time, so that a second ingest replaces the first.
    """
    if VALID.fullmatch(relative_path):
        return relative_path
    digest = hashlib.sha256(relative_path.encode("utf-8", "replace")).hexdigest()[:_DIGEST_DIGITS]
    decomposed = unicodedata.normalize("NFKD", relative_path)
    folded = "".join(each for each in decomposed if not unicodedata.combining(each))
    name = _FOREIGN.sub("-", folded)
    head, slash, last = name.rpartition("/")
    stem, dot, ending = last.rpartition(".")
    if not dot or not stem or len(ending) > _DIGEST_DIGITS:
        stem, dot, ending = last, "", ""
    stem = (head + slash + stem).strip("-").lstrip("._:/@+=-")
    tail = f"{digest}{dot}{ending}"
    stem = stem[: MAX_LENGTH - len(tail) - 1].rstrip("-/")
    return f"{stem}-{tail}" if stem else tail
