"""Bytes to text: byte order mark, UTF-8, the declared charset, then a guess from the bytes themselves."""

from __future__ import annotations

import codecs

import charset_normalizer

from ingest_worker.parse import faults
from ingest_worker.parse.limits import require_characters, require_encoded

_BYTE_ORDER_MARKS = (  # UTF-32 first: its little-endian mark starts with that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WIDE_SAMPLE_BYTES = 4096
_MIN_WIDE_BYTES = 8
_MIN_NUL_SHARE = 0.6
"""Of the high bytes of UTF-16: the text of a European language, with its spaces and digits, has over 0.9."""
_MAX_OTHER_SHARE = 0.02
"""Of the low bytes: a text has no U+0000, and few characters of the form U+xx00."""
_COMMON_ENCODING = "cp1252"
_GUESS_BYTES = 1 << 18
"""How much of a document the guess looks at: it tries dozens of encodings."""


def decode_text(data: bytes, *, charset: str = "") -> str:
    """Return the text in `data`; `charset` is what the document declares about itself, or empty.

    Raises `InvalidArgument` (`DOCUMENT_CORRUPT`) when no encoding fits and `ResourceExhausted`
    (`DOCUMENT_TOO_LARGE`) when it is more text than a document may have.
    """
    require_encoded(len(data))
    text = _decode(data, charset)
    require_characters(len(text))
    return text


def unmarked_utf16(data: bytes) -> str:
    """Return which UTF-16 `data` is by where its NUL bytes stand: `utf-16-le`, `utf-16-be` or empty for none.

    Looks at the start of `data` only, and finds texts that are mostly Latin letters, digits and spaces.
    """
    head = data[:_WIDE_SAMPLE_BYTES]
    if len(data) % 2 or len(head) < _MIN_WIDE_BYTES:
        return ""
    at_even, at_odd = (head[parity::2].count(0) / len(head[parity::2]) for parity in (0, 1))
    for encoding, high, low in (("utf-16-be", at_even, at_odd), ("utf-16-le", at_odd, at_even)):
        if high >= _MIN_NUL_SHARE and low <= _MAX_OTHER_SHARE and _try(head[: len(head) - 2], encoding):
            return encoding
    return ""


def _decode(data: bytes, charset: str) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(encoding)
            except UnicodeDecodeError as error:
                raise faults.corrupt(
                    f"starts with the mark of {encoding} but is not valid {encoding}"
                ) from error
    for encoding in (unmarked_utf16(data), "utf-8", charset):
        text = _try(data, encoding)
        if text is not None:
            return text
    guess = guess_encoding(data)
    text = _try(data, guess) if guess else None
    if text is None:
        raise faults.corrupt("is not text in any known encoding; send it as UTF-8")
    return text


def has_byte_order_mark(data: bytes) -> bool:
    """Whether `data` starts with a Unicode byte order mark."""
    return any(data.startswith(mark) for mark, _ in _BYTE_ORDER_MARKS)


def guess_encoding(data: bytes) -> str:
    """Return the most likely encoding of `data`, or an empty string where nothing is plausible."""
    matches = charset_normalizer.from_bytes(data[:_GUESS_BYTES])
    best = matches.best()
    if best is None:
        return ""
    for match in matches:  # of those that fit equally well, the one that most documents are in
        is_as_good = match.chaos <= best.chaos and match.coherence >= best.coherence
        if is_as_good and _COMMON_ENCODING in match.could_be_from_charset:
            return _COMMON_ENCODING
    return best.encoding


def _try(data: bytes, encoding: str) -> str | None:
    if not encoding:
        return None
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError):  # an unknown name, or not a text encoding
        return None
