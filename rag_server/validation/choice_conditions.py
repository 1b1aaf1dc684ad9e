"""Conditions over the texts of a choice. `custom.CHECKS` says for which message."""

from __future__ import annotations

from collections.abc import Iterator

from rag.v1 import output_format_pb2
from rag_server.domain.output_format import bare_choice
from rag_server.validation.finding import Finding


def choices_can_be_told_apart(message: output_format_pb2.OutputChoice) -> Iterator[Finding]:
    """No text is blank, and no two differ only by case and the signs around them."""
    seen: set[str] = set()
    for index, value in enumerate(message.values):
        bare = bare_choice(value)
        if value and not bare:
            yield Finding(f"values[{index}]", "has nothing but white space and punctuation")
        elif bare and bare in seen:
            yield Finding(f"values[{index}]", "repeats an earlier choice")
        seen.add(bare)
