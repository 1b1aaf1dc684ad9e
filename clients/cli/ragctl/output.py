"""Where output goes and in which form: text and tables for people, JSON for machines.

Titles, passages and messages come from documents and servers. `printable` takes out what would act on the
terminal; rich's markup is off everywhere, so that `[bold]` in a document is just that.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table
from rich.text import Text

_STEP = 1024

PIPED_WIDTH = 120
"""Columns of a table that does not go to a terminal, unless COLUMNS says otherwise."""


def printable(text: str) -> str:
    """Return the text without control characters (but for line breaks and tabs) and lone surrogates."""
    return "".join(
        character if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs") else "\ufffd"
        for character in text
    )


def one_line(text: str) -> str:
    """Return the text on one line, with single spaces, safe to print."""
    return " ".join(printable(text).split())


def as_dict(message: Message) -> dict[str, Any]:
    """Return a message as JSON-ready data: the contract's field names, every plain field present."""
    data: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return data


def enum_name(kind: Any, number: int) -> str:
    """Return the name of an enum's value for people: lower case, without the enum's own name.

    Args:
        kind: The wrapper of a generated enum.
        number: A value, perhaps one that a later server knows and we do not.
    """
    values = kind.DESCRIPTOR.values_by_number
    if number not in values:
        return f"kind {number}"
    prefix = values[0].name.removesuffix("UNSPECIFIED")
    return str(values[number].name.removeprefix(prefix)).lower().replace("_", " ")


def shown_size(size_bytes: int) -> str:
    """Return a size in the greatest binary unit that is at most the size: `1.5 MiB`."""
    size = float(size_bytes)
    for unit in ("bytes", "KiB", "MiB"):
        if size < _STEP:
            return f"{size:.0f} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= _STEP
    return f"{size:.1f} GiB"


class Output:
    """Standard output and standard error of one command."""

    def __init__(self, *, is_json: bool, no_color: bool) -> None:
        self.is_json = is_json
        self.out = self._console(no_color=no_color, stderr=False)
        self.err = self._console(no_color=no_color, stderr=True)

    @staticmethod
    def _console(*, no_color: bool, stderr: bool) -> Console:
        # Rich has a width only from a terminal or COLUMNS, and takes 80 otherwise: too narrow for a file.
        stream = sys.stderr if stderr else sys.stdout
        width = None if stream.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH
        return Console(
            stderr=stderr,
            no_color=no_color or None,
            highlight=False,
            markup=False,
            emoji=False,
            width=width,
        )

    def document(self, data: Message | Mapping[str, Any]) -> None:
        """Write one JSON document over several lines."""
        value = as_dict(data) if isinstance(data, Message) else data
        self.out.file.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
        self.out.file.flush()

    def json_line(self, data: Message | Mapping[str, Any]) -> None:
        """Write one JSON document on one line, at once: an element of a stream."""
        value = as_dict(data) if isinstance(data, Message) else data
        self.out.file.write(json.dumps(value, ensure_ascii=False) + "\n")
        self.out.file.flush()

    def error_document(self, data: Mapping[str, Any]) -> None:
        """Write one JSON document on one line of standard error."""
        self.err.file.write(json.dumps(data, ensure_ascii=False) + "\n")
        self.err.file.flush()

    def line(self, text: str | Text = "", *, style: str = "") -> None:
        """Write a line of text; one that is long is left for the terminal to wrap."""
        shown = text if isinstance(text, Text) else Text(printable(text), style=style)
        self.out.print(shown, soft_wrap=True)

    def note(self, text: str, *, style: str = "dim") -> None:
        """Write a line to standard error: what is about the run, not its result."""
        self.err.print(Text(printable(text), style=style), soft_wrap=True)

    def piece(self, text: str, *, style: str = "") -> None:
        """Write a piece of a line, at once."""
        self.out.print(Text(printable(text), style=style), soft_wrap=True, end="")
        self.out.file.flush()

    def table(self, columns: Iterable[str], rows: Iterable[Iterable[str | Text]]) -> None:
        """Write a table. A column `>...` is right-aligned, one `=...` never broken over lines."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(
                column.lstrip(">="),
                justify="right" if column.startswith(">") else "left",
                no_wrap=column.startswith("="),
                overflow="fold",
            )
        for row in rows:
            table.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row))
        self.out.print(table)

    def fields(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Write names and values, one pair a line; pairs without a value are left out."""
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in pairs:
            if value:
                table.add_row(Text(name), Text(printable(value)))
        self.out.print(table)
