"""URL patterns with `*` for any run of characters, matched in linear time whatever they are."""

from __future__ import annotations

from collections.abc import Sequence

from ingest_worker.crawl.urls import split_url
from rag_server.errors import InvalidArgument

MAX_PATTERNS = 100
MAX_PATTERN_CHARACTERS = 500


class UrlPattern:
    """A pattern of a whole URL (`https://...`) or of path and query (`/docs/*`, `*.pdf`).

    `*` is the only sign with a meaning: `?`, `[` and `.` occur in URLs as they are. The parts between the
    stars are looked for one after the other, leftmost first: exact for this language, without backtracking.
    """

    def __init__(self, text: str) -> None:
        self._is_whole_url = text.startswith(("http://", "https://"))
        self._first, *rest = text.split("*")
        self._has_star = bool(rest)
        self._last = rest.pop() if rest else ""
        self._middle = [part for part in rest if part]

    def matches(self, url: str) -> bool:
        """Whether the pattern describes all of the normalised `url`, or all of its path and query."""
        subject = url if self._is_whole_url else "".join(split_url(url)[1:])
        if not self._has_star:
            return subject == self._first
        if not subject.startswith(self._first):
            return False
        position = len(self._first)
        for part in self._middle:
            found = subject.find(part, position)
            if found < 0:
                return False
            position = found + len(part)
        return len(subject) - len(self._last) >= position and subject.endswith(self._last)


def compile_patterns(texts: Sequence[str], field: str) -> tuple[UrlPattern, ...]:
    """Return the patterns of the request's `field`.

    Raises `InvalidArgument` (`INVALID_REQUEST`) for too many, too long ones, and those that match no URL.
    """
    if len(texts) > MAX_PATTERNS:
        raise InvalidArgument.for_field(field, f"has {len(texts)} patterns; at most {MAX_PATTERNS}")
    for index, text in enumerate(texts):
        if not text.startswith(("/", "*", "http://", "https://")):
            raise InvalidArgument.for_field(
                f"{field}[{index}]", "a pattern starts with '/', '*', 'http://' or 'https://'"
            )
        if len(text) > MAX_PATTERN_CHARACTERS:
            raise InvalidArgument.for_field(
                f"{field}[{index}]", f"is longer than {MAX_PATTERN_CHARACTERS} characters"
            )
    return tuple(UrlPattern(text) for text in texts)
