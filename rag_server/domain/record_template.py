"""Templates of records: text with the names of columns in braces, `{{` and `}}` for braces.

Nothing else stands in the braces than a name: no formats, no attributes, no indices, unlike in `str.format`,
which would let a template reach into objects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_PIECES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")
_BRACES = {"{{": "{", "}}": "}"}


class TemplateError(ValueError):
    """The template is malformed; the text says where, for the caller."""


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template."""

    pieces: tuple[tuple[str, bool], ...]
    """Texts, and whether each is the name of a column."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it names, each once, in their order."""
        return tuple(dict.fromkeys(text for text, is_column in self.pieces if is_column))

    def render(self, texts: Mapping[str, str]) -> str:
        """Return the text of a row; a column without a value leaves its place empty."""
        return "".join(texts.get(text, "") if is_column else text for text, is_column in self.pieces)


def parse_template(source: str) -> Template:
    """Return the template that `source` spells. Raises `TemplateError`."""
    pieces: list[tuple[str, bool]] = []
    for match in _PIECES.finditer(source):
        piece, column = match[0], match[1]
        if piece in {"{", "}"}:
            raise TemplateError(
                f"the {piece!r} at position {match.start()} stands alone: double it for a brace"
            )
        if column is None:
            pieces.append((_BRACES.get(piece, piece), False))
        elif not column.strip():
            raise TemplateError(f"the braces at position {match.start()} name no column")
        else:
            pieces.append((column.strip(), True))
    return Template(tuple(pieces))
