"""The form of an answer, ready to be checked against: what is shared by all kinds of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from rag_server.domain.document import Span

Clean = Callable[[str], str]
"""Takes out of a text what could harm who reads it."""


class FormError(Exception):
    """An answer does not have the form; the text says where, and has no words of it but names of members."""


class FormUnusable(Exception):
    """The form itself is none; the text says why."""

    def __init__(self, member: str, problem: str, reason: str) -> None:
        """`member`: of `generation.output`."""
        super().__init__(problem)
        self.member = member
        self.problem = problem
        self.reason = reason


class Form(Protocol):
    """Checks answers. Pure CPU, thread-safe: used off the event loop."""

    def accept(self, text: str, clean: Clean) -> str:
        """Return the answer as the caller gets it: the form's own, cleaned, without what stands around it.

        Raises:
            FormError: It does not have the form, or would not have it cleaned.
        """
        ...

    def holds(self, text: str) -> bool:
        """Whether `text` has the form, just as it is."""
        ...

    def claims(self, text: str) -> Sequence[tuple[Span, str]]:
        """Return the places of an accepted answer that may be attributed to sources, with what they say."""
        ...
