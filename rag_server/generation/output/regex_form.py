"""Answers that a regular expression matches as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from rag_server.domain.document import Span
from rag_server.generation.output.form import Clean, FormError, FormUnusable
from rag_server.generation.output.linear_regex import LinearRegex, RegexUnusable


class RegexForm:
    """A `Form` by a regular expression."""

    def __init__(self, pattern: str) -> None:
        """Compile `pattern`.

        Raises:
            FormUnusable: `OUTPUT_REGEX_INVALID`.
        """
        try:
            self._regex = LinearRegex(pattern)
        except RegexUnusable as error:
            raise FormUnusable(
                "regex", f"is no regular expression of RE2: {error}", "OUTPUT_REGEX_INVALID"
            ) from error

    def accept(self, text: str, clean: Clean) -> str:
        """Return the text, or the text without white space around it, whichever matches."""
        for candidate in (text, text.strip()):
            if self.holds(candidate):
                cleaned = clean(candidate)
                if not self.holds(cleaned):
                    raise FormError("it has a link or markup that is not in the sources")
                return cleaned
        raise FormError("it does not match the regular expression")

    def holds(self, text: str) -> bool:
        """Whether all of `text` matches."""
        return self._regex.matches(text)

    def claims(self, text: str) -> Sequence[tuple[Span, str]]:
        """Return the whole text."""
        return [(Span(0, len(text)), text)] if text else []
