"""Answers that are one of several texts."""

from __future__ import annotations

from collections.abc import Sequence

from rag_server.domain.document import Span
from rag_server.domain.output_format import bare_choice
from rag_server.generation.output.form import Clean, FormError


class ChoiceForm:
    """A `Form` by enumeration."""

    def __init__(self, choices: Sequence[str]) -> None:
        self._choices = tuple(choices)

    def accept(self, text: str, clean: Clean) -> str:
        """Return the choice that was made; case and the signs around it may be the model's own."""
        if text in self._choices:
            return text
        bare = bare_choice(text)
        meant = [each for each in self._choices if bare_choice(each) == bare]
        if len(meant) != 1:
            raise FormError("it is not one of the choices")
        return meant[0]

    def holds(self, text: str) -> bool:
        """Whether `text` is one of the choices."""
        return text in self._choices

    def claims(self, text: str) -> Sequence[tuple[Span, str]]:
        """Return nothing: a choice is the caller's own words."""
        return []
