"""Records: tables taken row by row, each row a chunk with metadata of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rag_server.domain.collection import Chunking
from rag_server.domain.metadata import MetadataType

MAX_RECORDS = 100_000
"""Rows of one document: some 200 MB in memory, and half an hour of embedding on a small machine."""
MAX_RECORD_CHARACTERS = 8_000
"""Of the text of one record, as of a chunk of `CharacterChunking`."""
MAX_RECORD_METADATA_BYTES = 16_384
"""Of the names and texts in the metadata of one record; as much as a document may have."""
LIST_SEPARATOR = ";"


@dataclass(frozen=True, slots=True)
class RecordField:
    """A column that becomes metadata."""

    column: str
    field: str
    type: MetadataType
    is_optional: bool = False
    """A row without a value is taken, and lacks the field."""
    separator: str = LIST_SEPARATOR
    """Between the texts of a list in one cell."""


@dataclass(frozen=True, slots=True)
class RecordMapping:
    """How the rows of a table become records."""

    template: str = ""
    """See `record_template`; empty: each column that has a value, as a line `column: value`."""
    fields: tuple[RecordField, ...] = ()
    key_column: str = ""
    """Whose values tell the records apart; empty: none."""
    sheet: str = ""
    """Of a workbook; empty: the first visible one."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RecordMapping:
        """Undo `to_json`."""
        fields = (RecordField(**{**field, "type": MetadataType(field["type"])}) for field in value["fields"])
        return cls(value["template"], tuple(fields), value["key_column"], value["sheet"])

    @property
    def types(self) -> dict[str, MetadataType]:
        """The metadata fields and their types."""
        return {each.field: each.type for each in self.fields}


Cutting = Chunking | RecordMapping
"""How a document becomes chunks."""


def wants_page_boxes(cutting: Cutting) -> bool:
    """Whether chunks are to tell where on their pages they stand; records have no pages."""
    return not isinstance(cutting, RecordMapping) and cutting.page_boxes
