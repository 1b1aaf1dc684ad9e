"""JSON (RFC 8259): one value, rendered so that it reads and is found well."""

from __future__ import annotations

import json

from ingest_worker.parse import faults
from ingest_worker.parse.assembly import assemble
from ingest_worker.parse.decoding import decode_text
from ingest_worker.parse.json_values import Value, label_of, value_blocks
from ingest_worker.parse.limits import require_parts
from rag_server.domain.document import MediaType, ParsedDocument

_MAX_VALUES = 4_000_000
"""Some 300 MB in memory."""
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str, strict=False)
"""Numbers stay as they are written. `NaN` and raw control characters, which many writers produce, pass."""


class JsonParser:
    """Parser of `application/json`. Nulls and empty containers say nothing and are left out."""

    media_types = frozenset({MediaType.JSON})

    def parse(self, data: bytes) -> ParsedDocument:
        value = load_json(decode_text(data))
        return assemble(value_blocks(value), title=label_of(value))


def load_json(source: str, *, line: int = 0) -> Value:
    """Return the value in `source`, which is line `line` of the document, or all of it.

    Raises `InvalidArgument` (`DOCUMENT_CORRUPT`) where it is not valid or nests too deeply, and
    `ResourceExhausted` (`DOCUMENT_TOO_LARGE`) where it has more than 4 million values.
    """
    # An upper bound: the marks may stand in strings too, but there they are rare.
    require_parts(sum(map(source.count, ",[{")), _MAX_VALUES, "values")
    try:
        value: Value = _DECODER.decode(source)
    except json.JSONDecodeError as error:
        place = f"line {line or error.lineno}, column {error.colno}"
        raise faults.corrupt(f"is not valid JSON at {place}") from error
    except RecursionError as error:
        raise faults.corrupt("nests its values too deeply") from error
    return value
