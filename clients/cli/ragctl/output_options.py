"""`--json-schema`, `--regex` and `--choice`: the form that an answer has to have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rag.v1.output_format_pb2 import OutputChoice, OutputFormat
from ragctl.errors import CommandFailed

PANEL = "Form of the answer (models that write)"

JsonSchemaOption = Annotated[
    Path | None,
    typer.Option(
        "--json-schema",
        metavar="FILE",
        help="A file with a JSON Schema (Draft 2020-12) that the answer, in JSON, keeps to.",
        rich_help_panel=PANEL,
    ),
]
RegexOption = Annotated[
    str,
    typer.Option(
        "--regex", help="A regular expression (RE2) that the whole answer matches.", rich_help_panel=PANEL
    ),
]
ChoiceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--choice",
        metavar="TEXT",
        help="One of the answers that there are; repeat it.",
        rich_help_panel=PANEL,
    ),
]


def output_of(json_schema: Path | None, regex: str, choices: Sequence[str] | None) -> OutputFormat | None:
    """Return the message of the options; None: none of them is given. The server checks the rest.

    Raises:
        CommandFailed: More than one kind is given, or the file cannot be read.
    """
    if sum((json_schema is not None, bool(regex), bool(choices))) > 1:
        raise CommandFailed.for_usage("give one of --json-schema, --regex and --choice")
    if json_schema is not None:
        try:
            return OutputFormat(json_schema=json_schema.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise CommandFailed.for_usage(f"cannot read {json_schema}: {problem}") from error
    if regex:
        return OutputFormat(regex=regex)
    if choices:
        return OutputFormat(choice=OutputChoice(values=choices))
    return None
