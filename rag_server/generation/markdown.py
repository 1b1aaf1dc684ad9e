"""Takes out of a stream of Markdown what could harm who reads it: images, HTML, and links that no source has.

An image is fetched without a click, so that its address can carry away what the model was told; a link of
the model's own making leads wherever a hostile passage wants. Every place where one may begin is looked at
with bounded lookahead, and decided by the characters from there on alone: however the stream is cut, the
result is the same.

After CommonMark 0.31 and the autolinks of GitHub Flavored Markdown 0.29.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from rag_server.domain.retrieval import ScoredChunk

MAX_LINK_TEXT: Final = 256
MAX_ADDRESS: Final = 2048
MAX_TAG: Final = 1024
_MAX_DEPTH: Final = 3
_NONE: Final = -1

_ADDRESS: Final = re.compile(r"(?:https?://|www\.)[^\s<>\"`\[\]]+", re.IGNORECASE)
_ADDRESS_END: Final = re.compile(r"[\s<>\"`\[\]]")
_TRAILING: Final = ".,;:!?)}'*_~…"
_SUSPECT: Final = re.compile(r"[!\[\]<hHwW]")
_PREFIXES: Final = ("http://", "https://", "www.")
_NUMBER_LINK: Final = re.compile(r"\[\d{1,3}\]")
_NUMBER_LINK_START: Final = re.compile(r"(?:\[\d{0,3})?")
_SEAM: Final = "\u200b"
"""Zero width: between two texts that must not grow together into what was taken out between them."""
_BEFORE_SEAM: Final = frozenset("]!<:/")
_AFTER_SEAM: Final = frozenset("([:/<!")

_Step = tuple[str, int, bool]
"""What to write, where to go on, and whether something was taken out."""


def addresses_in(sources: Iterable[ScoredChunk]) -> frozenset[str]:
    """Return the addresses that sources contain or come from, in the form that `normal` gives them."""
    found: set[str] = set()
    for source in sources:
        for chunk in (*source.context_before, source.chunk, *source.context_after):
            found.add(normal(chunk.source_uri))
            found |= addresses_of(chunk.text)
    return frozenset(found - {""})


def addresses_of(text: str) -> frozenset[str]:
    """Return the addresses that a text contains, in the same form."""
    return frozenset(normal(match.group()) for match in _ADDRESS.finditer(text)) - {""}


def normal(address: str) -> str:
    """Return an address without scheme, the host in lower case, without punctuation at its end."""
    bare = re.sub(r"^https?://", "", address.strip(), flags=re.IGNORECASE).rstrip(_TRAILING + "/")
    host, slash, path = bare.partition("/")
    return host.lower() + slash + path


class MarkdownCleaner:
    """Cleans one answer: `feed` it the pieces, then `end`."""

    def __init__(self, addresses: frozenset[str]) -> None:
        """`addresses`: those that may stay, from `addresses_in`."""
        self._addresses = addresses
        self._rest = ""
        self._last = ""
        """The last characters that were written."""
        self._is_cut = False
        """Whether something was taken out after them."""

    def feed(self, text: str) -> str:
        """Return what can be told for sure of what has come."""
        self._rest += text
        return self._advance(at_end=False)

    def end(self) -> str:
        """Return the rest: nothing more comes."""
        return self._advance(at_end=True)

    def _advance(self, *, at_end: bool) -> str:
        text, position, written = self._rest, 0, []
        while position < len(text):
            match = _SUSPECT.search(text, position)
            if match is None:
                written.append(self._joined(text[position:]))
                position = len(text)
                break
            written.append(self._joined(text[position : match.start()]))
            position = match.start()
            step = self._step(text, position, at_end)
            if step is None:
                break
            piece, position, is_cut = step
            self._is_cut = self._is_cut or is_cut
            written.append(self._joined(piece))
            self._is_cut = self._is_cut or is_cut
        self._rest = text[position:]
        return "".join(written)

    def _joined(self, piece: str) -> str:
        """Return `piece`, kept apart from what was written before something was taken out."""
        if not piece:
            return ""
        if self._is_cut and _may_grow_together(self._last, piece[0]):
            piece = _SEAM + piece
        self._is_cut = False
        self._last = (self._last + piece)[-3:]
        return piece

    def _step(self, text: str, start: int, at_end: bool) -> _Step | None:
        """Decide on the sign at `start`; None: what follows has to be known."""
        match text[start]:
            case "!":
                return _exclamation(text, start, at_end)
            case "[":
                return self._link(text, start, at_end)
            case "]":
                return _end_of_label(text, start, at_end)
            case "<":
                return self._angle(text, start, at_end)
            case _:
                return self._address(text, start, at_end)

    def _link(self, text: str, start: int, at_end: bool) -> _Step | None:
        """Decide on a `[`: a link is kept with its own address, or replaced by its text."""
        end = _closing(text, start, "[", "]", MAX_LINK_TEXT)
        if (end is None or end == len(text)) and not at_end:
            return None
        if end is None or end == _NONE or not text.startswith("(", end):
            return "[", start + 1, False
        close = _closing(text, end, "(", ")", MAX_ADDRESS)
        if close is None and not at_end:
            return None
        if close is None or close == _NONE:  # the `]` will be seen to
            return "[", start + 1, False
        label = text[start + 1 : end - 1]
        address = _destination(text[end + 1 : close - 1])
        if normal(address) in self._addresses and address.lower().startswith(_PREFIXES[:2]):
            return f"[{self._nested(label)}]({address})", close, False
        return (f"[{label}]" if label.isdecimal() else self._nested(label)), close, True

    def _nested(self, text: str) -> str:
        """Return a text within another, cleaned."""
        inner = MarkdownCleaner(self._addresses)
        return inner.feed(text) + inner.end()

    def _angle(self, text: str, start: int, at_end: bool) -> _Step | None:
        if start + 1 == len(text):
            return ("<", start + 1, False) if at_end else None
        follower = text[start + 1]
        if not (follower.isascii() and follower.isalpha()) and follower not in "/!?":
            return "<", start + 1, False
        for end in range(start + 1, min(len(text), start + MAX_TAG)):
            if text[end] == "<":
                return "&lt;", start + 1, False
            if text[end] == ">":
                is_kept = normal(text[start + 1 : end]) in self._addresses
                return (text[start : end + 1] if is_kept else ""), end + 1, not is_kept
        if len(text) - start >= MAX_TAG:
            return "&lt;", start + 1, False
        return ("&lt;", start + 1, False) if at_end else None

    def _address(self, text: str, start: int, at_end: bool) -> _Step | None:
        opening = text[start : start + len("https://")].lower()
        if not opening.startswith(_PREFIXES):
            may_become = start + len(opening) == len(text) and any(
                prefix.startswith(opening) for prefix in _PREFIXES
            )
            return None if may_become and not at_end else (text[start], start + 1, False)
        last = min(len(text), start + MAX_ADDRESS)
        match = _ADDRESS_END.search(text, start, last)
        if match is None and last == len(text) and last < start + MAX_ADDRESS and not at_end:
            return None
        end = last if match is None else match.start()
        bare = text[start:end].rstrip(_TRAILING)
        is_kept = normal(bare) in self._addresses
        punctuation = text[start + len(bare) : end]
        # A renderer would let the address go on with signs that end it here.
        apart = " " if is_kept and match is not None and not match.group().isspace() else ""
        return (bare + punctuation + apart if is_kept else punctuation), end, not is_kept


def _may_grow_together(before: str, after: str) -> bool:
    last = before[-1:]
    if after == ".":
        return before[-1:].lower() == "w"
    return (last.isalnum() or last in _BEFORE_SEAM) and (after.isalnum() or after in _AFTER_SEAM)


def _exclamation(text: str, start: int, at_end: bool) -> _Step | None:
    """Drop the `!` of an image, which leaves a link; keep the one before a marker, as in `Yes![1]`."""
    following = text[start + 1 : start + 6]
    if following and following[0] != "[":
        return "!", start + 1, False
    if _NUMBER_LINK.match(following):
        return "!", start + 1, False
    if not at_end and start + 1 + len(following) == len(text) and _NUMBER_LINK_START.fullmatch(following):
        return None
    return ("!" if not following else ""), start + 1, bool(following)


def _end_of_label(text: str, start: int, at_end: bool) -> _Step | None:
    """Keep a `]` apart from what would make a link, or the definition of one, of the text before it."""
    follower = text[start + 1 : start + 2]
    if not follower and not at_end:
        return None
    return ("] " if follower and follower in "(:" else "]"), start + 1, False


def _closing(text: str, start: int, opening: str, closing: str, limit: int) -> int | None:
    """Return the index after the bracket that closes the one at `start`.

    `_NONE`: there is none within `limit` characters or `_MAX_DEPTH` levels, nor before a blank line. None:
    not known yet.
    """
    depth, position = 0, start
    while position < len(text):
        sign = text[position]
        if position - start >= limit or text.startswith("\n\n", position):
            return _NONE
        if sign == "\\":
            position += 1
        elif sign == opening:
            depth += 1
            if depth > _MAX_DEPTH:
                return _NONE
        elif sign == closing:
            depth -= 1
            if not depth:
                return position + 1
        position += 1
    return None


def _destination(inside: str) -> str:
    """Return the address of what stands between the parentheses of a link, without its title."""
    words = inside.split()
    return words[0].strip("<>") if words else ""
