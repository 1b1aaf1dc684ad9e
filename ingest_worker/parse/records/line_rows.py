"""JSON Lines as a table: each line an object, the keys of all of them the columns."""

from __future__ import annotations

import io

from ingest_worker.parse.assembly import one_line
from ingest_worker.parse.decoding import decode_text
from ingest_worker.parse.json import load_json
from ingest_worker.parse.limits import require_parts
from ingest_worker.parse.normalize import normalize
from ingest_worker.parse.records.table import Cell, Row, RowFailure, Table, item_error
from rag_server.domain.records import MAX_RECORDS
from rag_server.errors import InvalidArgument

_MAX_COLUMNS = 10_000
_MALFORMED = "RECORD_MALFORMED"


def line_table(data: bytes) -> Table:
    """Return the table of a JSON Lines file, whose lines are all read first: any may have another key.

    Raises `InvalidArgument` (`DOCUMENT_CORRUPT`) and `ResourceExhausted` (`DOCUMENT_TOO_LARGE`).
    """
    columns: dict[str, None] = {}
    rows: list[Row | RowFailure] = []
    for number, line in enumerate(io.StringIO(decode_text(data)), 1):
        if not line.strip():
            continue
        row = _row(number, line)
        rows.append(row)
        require_parts(len(rows), MAX_RECORDS, "records")
        if isinstance(row, Row):
            columns.update(dict.fromkeys(row.cells))
            require_parts(len(columns), _MAX_COLUMNS, "columns")
    return Table(tuple(columns), frozenset(), iter(rows))


def _row(number: int, line: str) -> Row | RowFailure:
    try:
        value = load_json(line, line=number)
    except InvalidArgument:
        return RowFailure(number, item_error(number, _MALFORMED, "is not valid JSON"))
    if not isinstance(value, dict):
        return RowFailure(number, item_error(number, _MALFORMED, "is not a JSON object"))
    cells = ((one_line(str(key)), _cell(each)) for key, each in value.items())
    return Row(number, {key: cell for key, cell in cells if key and cell is not None})


def _cell(value: object) -> Cell | None:
    if isinstance(value, str):
        value = normalize(value).strip()
    return None if value is None or value in ("", [], {}) else Cell(value)
