"""Names for documents that come without one.

The rule stands in docs/contract.md, so that clients which name documents by their paths, as ragctl does,
and the server make the same name of the same file.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

_VALID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@+=-]{0,254}")
_FOREIGN = re.compile(r"[^A-Za-z0-9_.:/@+=-]+")
_MAX_LENGTH = 255
_DIGEST_DIGITS = 8


def document_id_for(name: str) -> str:
    """Return the id of the document with this path or URI.

    The name itself where it is a valid id. Otherwise accents are folded, runs of other characters become
    `-`, and eight digits of the name's SHA-256 digest go before the ending, so that different names stay
    different: `informe año.pdf` -> `informe-ano-<8 digits>.pdf`.
    """
    if _VALID.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:_DIGEST_DIGITS]
    decomposed = unicodedata.normalize("NFKD", name)
    folded = "".join(each for each in decomposed if not unicodedata.combining(each))
    head, slash, last = _FOREIGN.sub("-", folded).rpartition("/")
    stem, dot, ending = last.rpartition(".")
    if not dot or not stem or len(ending) > _DIGEST_DIGITS:
        stem, dot, ending = last, "", ""
    stem = (head + slash + stem).strip("-").lstrip("._:/@+=-")
    tail = f"{digest}{dot}{ending}"
    stem = stem[: _MAX_LENGTH - len(tail) - 1].rstrip("-/")
    return f"{stem}-{tail}" if stem else tail
