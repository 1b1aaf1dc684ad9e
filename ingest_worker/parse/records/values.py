"""Cells as typed metadata."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime
from typing import Final

from ingest_worker.parse.normalize import normalize
from ingest_worker.parse.records.table import Cell
from rag_server.domain.metadata import MetadataType, MetadataValue
from rag_server.domain.records import RecordField

MAX_TEXT_CHARACTERS: Final = 4096
"""Of a text, and of each text of a list; as in a request."""
MAX_LIST_ITEMS: Final = 256
_INTEGER = re.compile(r"[-+]?\d{1,19}", re.ASCII)
_DOUBLE = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?", re.ASCII)
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


def typed_value(cell: Cell, field: RecordField) -> MetadataValue:
    """Return the value of a cell. Raises `ValueError`, which says what it should look like."""
    match field.type:
        case MetadataType.STRING:
            return _text(cell.text)
        case MetadataType.INTEGER:
            return _integer(cell)
        case MetadataType.DOUBLE:
            return _double(cell)
        case MetadataType.BOOLEAN:
            return _boolean(cell)
        case MetadataType.TIMESTAMP:
            return _timestamp(cell.value)
        case MetadataType.STRING_LIST:
            return _texts(cell, field.separator)


def _text(said: str) -> str:
    text = normalize(said)  # of a nested value of JSON, too
    if len(text) > MAX_TEXT_CHARACTERS:
        raise ValueError(f"a text of at most {MAX_TEXT_CHARACTERS} characters")
    return text


def _integer(cell: Cell) -> int:
    value = cell.value
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # sheets keep all numbers as doubles
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and _INT64_MIN <= value <= _INT64_MAX:
        return value
    raise ValueError("an integer such as -12, of 64 bits at most")


def _double(cell: Cell) -> float:
    value = cell.value
    if isinstance(value, str) and _DOUBLE.fullmatch(value):
        value = float(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise ValueError("a finite number such as -12.5, with a decimal point and without groups of thousands")


def _boolean(cell: Cell) -> bool:
    found = _BOOLEANS.get(cell.text.lower())
    if found is None:
        raise ValueError("true, false, yes, no, 1 or 0")
    return found


def _timestamp(value: object) -> datetime:
    moment: datetime | None = None
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
    elif isinstance(value, datetime):
        moment = value
    elif isinstance(value, date):
        moment = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - its zone is set below
    if moment is not None:
        try:
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except OverflowError:
            moment = None
    raise ValueError("a date or time as in 2026-01-31 or 2026-01-31T09:30:00Z")


def _texts(cell: Cell, separator: str) -> tuple[str, ...]:
    value = cell.value
    parts = [str(each) for each in value] if isinstance(value, list) else cell.text.split(separator)
    texts = tuple(_text(text) for part in parts if (text := normalize(part).strip()))
    if len(texts) > MAX_LIST_ITEMS:
        raise ValueError(f"a list of at most {MAX_LIST_ITEMS} texts")
    return texts
