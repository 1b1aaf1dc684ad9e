"""The one way in: a table and a mapping become a document of records, and errors for the rows left out."""

from __future__ import annotations

from collections.abc import Iterator

from ingest_worker.parse import faults
from ingest_worker.parse.assembly import one_line
from ingest_worker.parse.limits import require_characters, require_parts
from ingest_worker.parse.normalize import normalize
from ingest_worker.parse.records.grid_rows import delimited_table
from ingest_worker.parse.records.line_rows import line_table
from ingest_worker.parse.records.sheet_rows import sheet_table
from ingest_worker.parse.records.table import Row, RowFailure, Table, item_error
from ingest_worker.parse.records.values import typed_value
from rag_server.domain.document import Block, BlockKind, MediaType, ParsedDocument, Record, Records, Span
from rag_server.domain.job_items import MAX_ITEM_ERRORS, ItemError
from rag_server.domain.metadata import Metadata, MetadataValue
from rag_server.domain.record_template import Template, parse_template
from rag_server.domain.records import (
    MAX_RECORD_CHARACTERS,
    MAX_RECORD_METADATA_BYTES,
    MAX_RECORDS,
    RecordMapping,
)
from rag_server.errors import InvalidArgument

_VALUE_MISSING = "RECORD_VALUE_MISSING"
_VALUE_INVALID = "RECORD_VALUE_INVALID"
_KEY_REPEATED = "RECORD_KEY_REPEATED"
_TEXT_INVALID = "RECORD_TEXT_INVALID"
_MAX_SHOWN = 100
_MAX_KEY = 256
_MAX_NAMED = 50
_GAP = "\n\n"


class _RowRefusedError(Exception):
    """A row is left out."""

    def __init__(self, error: ItemError) -> None:
        super().__init__(error.reason)
        self.error = error


def table_type(detected: MediaType) -> MediaType:
    """Return the format to read rows of: text of which nobody has said what it is counts as CSV."""
    return MediaType.CSV if detected is MediaType.TEXT else detected


def read_records(data: bytes, media_type: MediaType, mapping: RecordMapping) -> ParsedDocument:
    """Return the rows of `data` as records, in their order.

    CPU work of up to seconds. Raises `InvalidArgument` (`RECORDS_NOT_SUPPORTED`, `RECORD_COLUMN_UNKNOWN`,
    `RECORD_SHEET_NOT_FOUND`, and what the parser of the format raises) and `ResourceExhausted`
    (`DOCUMENT_TOO_LARGE`). A document none of whose rows can be taken is returned, with the errors.
    """
    table = _table(data, media_type, mapping)
    template = parse_template(mapping.template) if mapping.template else None
    _check_columns(table, template, mapping)
    reader = _Reader(mapping, template, table.columns)
    for row in table.rows:
        reader.take(row)
    return reader.document()


def _table(data: bytes, media_type: MediaType, mapping: RecordMapping) -> Table:
    match media_type:
        case MediaType.CSV | MediaType.TSV:
            return delimited_table(data)
        case MediaType.JSONL:
            return line_table(data)
        case MediaType.XLSX:
            return sheet_table(data, mapping.sheet)
        case _:
            raise InvalidArgument(
                "RECORDS_NOT_SUPPORTED",
                f"the document is {media_type}, which has no rows to take as records; send CSV, TSV, JSON "
                "Lines or XLSX, or leave out `records`",
                metadata={"detected_media_type": media_type.value},
            )


def _check_columns(table: Table, template: Template | None, mapping: RecordMapping) -> None:
    named = [*(template.columns if template else ()), *(field.column for field in mapping.fields)]
    named += [mapping.key_column] if mapping.key_column else []
    missing = ", ".join(repr(name) for name in dict.fromkeys(named) if name not in table.columns)
    repeated = ", ".join(repr(name) for name in dict.fromkeys(named) if name in table.repeated)
    if not missing and not repeated:
        return
    columns = ", ".join(repr(name[:_MAX_SHOWN]) for name in table.columns[:_MAX_NAMED]) or "none"
    problem = f"lacks the columns {missing}" if missing else f"has more than one column named {repeated}"
    raise InvalidArgument(
        "RECORD_COLUMN_UNKNOWN",
        f"the table {problem}; its columns are {columns}",
        metadata={"missing": missing[:1000], "repeated": repeated[:1000], "columns": columns[:1000]},
    )


class _Reader:
    """Gathers the records of one table."""

    def __init__(self, mapping: RecordMapping, template: Template | None, columns: tuple[str, ...]) -> None:
        self._mapping = mapping
        self._template = template
        self._columns = columns
        self._texts: list[str] = []
        self._records: list[Record] = []
        self._errors: list[ItemError] = []
        self._failed = 0
        self._keys: dict[str, int] = {}
        self._position = 0

    def take(self, row: Row | RowFailure) -> None:
        require_parts(len(self._records) + self._failed + 1, MAX_RECORDS, "records")
        if isinstance(row, RowFailure):
            self._leave_out(row.error)
            return
        try:
            text = self._text(row)
            metadata = dict(self._values(row))
            _check_size(row, metadata)
            key = self._key(row)
        except _RowRefusedError as refused:
            self._leave_out(refused.error)
            return
        self._records.append(Record(Span(self._position, self._position + len(text)), key, metadata))
        self._texts.append(text)
        self._position += len(text) + len(_GAP)
        require_characters(self._position - len(_GAP))

    def _leave_out(self, error: ItemError) -> None:
        self._failed += 1
        if len(self._errors) < MAX_ITEM_ERRORS:
            self._errors.append(error)

    def document(self) -> ParsedDocument:
        """Return what was gathered. Raises `InvalidArgument` (`DOCUMENT_HAS_NO_TEXT`): there were no rows."""
        if not self._records and not self._failed:
            raise faults.has_no_text("it has no row below the names of its columns")
        blocks = tuple(Block(BlockKind.PARAGRAPH, record.span) for record in self._records)
        records = Records(tuple(self._records), tuple(self._errors), self._failed)
        return ParsedDocument(_GAP.join(self._texts), blocks, records=records)

    def _text(self, row: Row) -> str:
        if self._template is None:
            lines = (f"{name}: {row.cells[name].text}" for name in self._columns if name in row.cells)
            text = "\n".join(lines)
        else:
            wanted = self._template.columns
            text = self._template.render({name: row.cells[name].text for name in wanted if name in row.cells})
        text = normalize(text).strip()
        if not text:
            raise _refused(row, _TEXT_INVALID, "its text is blank: the template's columns are empty")
        if len(text) > MAX_RECORD_CHARACTERS:
            problem = f"its text has {len(text)} characters, the maximum is {MAX_RECORD_CHARACTERS}"
            raise _refused(row, _TEXT_INVALID, problem, limit=str(MAX_RECORD_CHARACTERS))
        return text

    def _values(self, row: Row) -> Iterator[tuple[str, MetadataValue]]:
        for field in self._mapping.fields:
            cell = row.cells.get(field.column)
            if cell is None:
                if not field.is_optional:
                    raise _missing(row, field.column)
                continue
            try:
                yield field.field, typed_value(cell, field)
            except ValueError as error:
                shown = cell.text[:_MAX_SHOWN]
                raise _refused(
                    row,
                    _VALUE_INVALID,
                    f"the column {field.column!r} has {shown!r}, which is not {error}",
                    column=field.column,
                    type=field.type.value,
                    value=shown,
                ) from error

    def _key(self, row: Row) -> str:
        column = self._mapping.key_column
        if not column:
            return ""
        cell = row.cells.get(column)
        if cell is None:
            raise _missing(row, column)
        key = one_line(cell.text)
        if len(key) > _MAX_KEY:
            raise _refused(
                row,
                _VALUE_INVALID,
                f"the key in column {column!r} has {len(key)} characters, the maximum is {_MAX_KEY}",
                column=column,
                type="key",
                value=key[:_MAX_SHOWN],
            )
        first = self._keys.setdefault(key, row.number)
        if first != row.number:
            shown = key[:_MAX_SHOWN]
            raise _refused(
                row,
                _KEY_REPEATED,
                f"the key {shown!r} in column {column!r} is that of row {first}, too",
                column=column,
                value=shown,
                first_row=str(first),
            )
        return key


def _check_size(row: Row, metadata: Metadata) -> None:
    size = sum(len(name) + _bytes_of(value) for name, value in metadata.items())
    if size > MAX_RECORD_METADATA_BYTES:
        problem = f"its metadata has {size} bytes, the maximum is {MAX_RECORD_METADATA_BYTES}"
        raise _refused(row, _TEXT_INVALID, problem, limit=str(MAX_RECORD_METADATA_BYTES))


def _bytes_of(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode())
    return sum(map(_bytes_of, value)) if isinstance(value, tuple) else 8


def _missing(row: Row, column: str) -> _RowRefusedError:
    return _refused(row, _VALUE_MISSING, f"the column {column!r} has no value", column=column)


def _refused(row: Row, reason: str, problem: str, **metadata: str) -> _RowRefusedError:
    return _RowRefusedError(item_error(row.number, reason, problem, metadata))
