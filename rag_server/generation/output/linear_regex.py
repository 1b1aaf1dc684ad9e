"""Regular expressions of callers: matched in linear time, compiled within a bound of memory.

RE2 (Cox, "Regular Expression Matching in the Wild", 2010) has neither lookaround nor back-references, which
is why no pattern and no text can hold it up.
"""

from __future__ import annotations

from typing import Final

import re2

_MAX_MEMORY_BYTES: Final = 1024 * 1024
"""Of one compiled pattern; a larger one is refused."""


class RegexUnusable(Exception):
    """The pattern cannot be used; the text says why."""


class LinearRegex:
    """A compiled pattern; thread-safe."""

    def __init__(self, pattern: str) -> None:
        """Compile `pattern`.

        Raises:
            RegexUnusable: It is none of RE2's, or too large.
        """
        options = re2.Options()
        options.log_errors = False
        options.max_mem = _MAX_MEMORY_BYTES
        try:
            self._compiled = re2.compile(pattern, options)
        except (re2.error, UnicodeEncodeError) as error:
            raise RegexUnusable(_problem(error)) from error

    def matches(self, text: str) -> bool:
        """Whether all of `text` matches."""
        return self._compiled.fullmatch(text) is not None

    def is_found_in(self, text: str) -> bool:
        """Whether some part of `text` matches."""
        return self._compiled.search(text) is not None


def _problem(error: Exception) -> str:
    """Return what RE2 says about the caller's own pattern."""
    said = error.args[0] if error.args else b""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else "is not text"
