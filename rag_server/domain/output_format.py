"""The form that an answer has to have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_AROUND: Final = " \t\r\n\"'`*_.«»“”"
"""Signs that models put around a fixed reply."""


@dataclass(frozen=True, slots=True)
class JsonSchemaOutput:
    """A JSON value that a schema describes."""

    schema: str
    """Text of a JSON Schema, Draft 2020-12."""


@dataclass(frozen=True, slots=True)
class RegexOutput:
    """A text that a regular expression matches from its first to its last character."""

    pattern: str
    """In the syntax of RE2."""


@dataclass(frozen=True, slots=True)
class ChoiceOutput:
    """One of several texts."""

    choices: tuple[str, ...]


OutputFormat = JsonSchemaOutput | RegexOutput | ChoiceOutput


def bare_choice(text: str) -> str:
    """Return what tells a choice from others: case and the signs around it do not."""
    return text.strip(_AROUND).casefold()
