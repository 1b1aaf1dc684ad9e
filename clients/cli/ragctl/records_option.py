"""`--records` and its company: tables taken row by row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import typer

from rag.v1.metadata_pb2 import MetadataType
from rag.v1.records_pb2 import RecordField, Records

PANEL = "Tables taken row by row (CSV, TSV, JSON Lines, XLSX)"
TYPES = {
    "str": MetadataType.METADATA_TYPE_STRING,
    "int": MetadataType.METADATA_TYPE_INTEGER,
    "float": MetadataType.METADATA_TYPE_DOUBLE,
    "bool": MetadataType.METADATA_TYPE_BOOLEAN,
    "time": MetadataType.METADATA_TYPE_TIMESTAMP,
    "list": MetadataType.METADATA_TYPE_STRING_LIST,
}
_FIELD = re.compile(
    r"(?:(?P<field>[A-Za-z_][A-Za-z0-9_]{0,63})=)?(?P<column>.+):(?P<type>[a-z]+)(?P<optional>\??)"
)

RowsOption = Annotated[
    bool, typer.Option("--records", help="Take each row as a chunk of its own.", rich_help_panel=PANEL)
]
TemplateOption = Annotated[
    str,
    typer.Option(
        "--template",
        metavar="TEXT",
        help="Text of a record, as in '{name}: {description}'; default: a line for each column.",
        rich_help_panel=PANEL,
    ),
]
FieldOption = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        metavar="[FIELD=]COLUMN:TYPE[?]",
        help="A column that becomes metadata: price:float, or brand='Brand name':str?; ? lets it be empty. "
        "Types: str, int, float, bool, time, list.",
        rich_help_panel=PANEL,
    ),
]
KeyOption = Annotated[
    str,
    typer.Option(
        "--key", metavar="COLUMN", help="The column that tells records apart.", rich_help_panel=PANEL
    ),
]
SheetOption = Annotated[
    str,
    typer.Option(
        "--sheet", metavar="NAME", help="Sheet of a workbook; default: the first.", rich_help_panel=PANEL
    ),
]


def parse_records(
    *, is_asked: bool, template: str, fields: Sequence[str], key: str, sheet: str
) -> Records | None:
    """Return the message of the options; None: none of them is given. The server checks the rest.

    Raises:
        ValueError: A field is not of the form.
    """
    if not (is_asked or template or fields or key or sheet):
        return None
    return Records(template=template, fields=map(_field, fields), key_column=key, sheet=sheet)


def _field(text: str) -> RecordField:
    found = _FIELD.fullmatch(text)
    if found is None or found["type"] not in TYPES:
        raise ValueError(f"{text!r} is not [FIELD=]COLUMN:TYPE[?] with a type of {', '.join(TYPES)}")
    return RecordField(
        column=found["column"],
        field=found["field"] or "",
        type=TYPES[found["type"]],
        is_optional=bool(found["optional"]),
    )
