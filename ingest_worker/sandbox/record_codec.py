"""Records as bytes, and back, from a process that is not to be trusted.

A line of JSON for each record, read one at a time: a short line cannot become many objects, and what it
becomes is held against the mapping that the worker itself has sent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from ingest_worker.sandbox.codec import MalformedDocument
from ingest_worker.sandbox.failures import REASON, printable
from rag_server.domain.document import Record, Records, Span
from rag_server.domain.job_items import MAX_ITEM_ERRORS, ItemError
from rag_server.domain.metadata import Metadata, MetadataType, MetadataValue, timestamp_us
from rag_server.domain.records import MAX_RECORDS, RecordMapping

_MAX_LINE_BYTES = 1 << 18
"""Of 16 KiB of metadata, each byte of which may take six in JSON, with room to spare."""
_MAX_TEXT = 4096
_MAX_ENTRIES = 20
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def encode_records(records: Records) -> bytes:
    """Return `records` as bytes."""
    lines: list[list[object]] = [[records.failed_count]]
    lines += [[error.item, error.reason, error.message, error.metadata] for error in records.errors]
    lines += [
        [record.span.start, record.span.end, record.key, _plain(record.metadata), 0]
        for record in records.taken
    ]
    return b"\n".join(json.dumps(line).encode() for line in lines)


def decode_records(payload: bytes, mapping: RecordMapping, character_count: int) -> Records:
    """Return what `encode_records` was given; `character_count` is the length of the document's text.

    Takes time in proportion to the payload: keep it off the event loop. Raises `MalformedDocument` for
    anything that a parser of `mapping` does not make.
    """
    failed = 0
    errors: list[ItemError] = []
    taken: list[Record] = []
    types = mapping.types
    try:
        for number, line in enumerate(_lines(payload)):
            match json.loads(line):
                case [int(count)] if number == 0 and 0 <= count <= MAX_RECORDS:
                    failed = count
                case [item, reason, message, dict(metadata)] if len(errors) < MAX_ITEM_ERRORS:
                    errors.append(_error(item, reason, message, metadata))
                case [int(start), int(end), str(key), dict(values), 0] if len(taken) < MAX_RECORDS:
                    taken.append(Record(Span(start, end), _text(key), _metadata(values, types)))
                case _:
                    raise MalformedDocument("record")
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise MalformedDocument(type(error).__name__) from error
    spans = [Span(0, 0), *(record.span for record in taken), Span(character_count, character_count)]
    if any(before.end > after.start for before, after in pairwise(spans)) or len(errors) > failed:
        raise MalformedDocument("records")
    return Records(tuple(taken), tuple(errors), failed)


def _lines(payload: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(payload):
        end = payload.find(b"\n", start)
        end = len(payload) if end < 0 else end
        if end - start > _MAX_LINE_BYTES:
            raise MalformedDocument("line")
        yield payload[start:end]
        start = end + 1


def _error(item: object, reason: object, message: object, metadata: dict[str, Any]) -> ItemError:
    if not (isinstance(reason, str) and REASON.fullmatch(reason)) or len(metadata) > _MAX_ENTRIES:
        raise MalformedDocument("reason")
    details = {printable(name, 100): printable(value, _MAX_TEXT) for name, value in metadata.items()}
    return ItemError(printable(item, 100), reason, printable(message, 2000), details)


def _plain(metadata: Metadata) -> dict[str, object]:
    return {
        name: timestamp_us(value) if isinstance(value, datetime) else value
        for name, value in metadata.items()
    }


def _metadata(values: dict[str, Any], types: dict[str, MetadataType]) -> Metadata:
    return {name: _DECODERS[types[name]](value) for name, value in values.items() if _is_known(name, types)}


def _is_known(name: str, types: dict[str, MetadataType]) -> bool:
    if name not in types:
        raise MalformedDocument("field")
    return True


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT or "\0" in value:
        raise MalformedDocument("text")
    value.encode()  # raises where it cannot be stored
    return value


def _integer(value: Any) -> int:
    if type(value) is not int or not _INT64_MIN <= value <= _INT64_MAX:
        raise MalformedDocument("integer")
    return value


def _double(value: Any) -> float:
    if type(value) is not float or not math.isfinite(value):
        raise MalformedDocument("double")
    return value


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise MalformedDocument("boolean")
    return value


def _timestamp(value: Any) -> datetime:
    return _EPOCH + timedelta(microseconds=_integer(value))


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise MalformedDocument("list")
    return tuple(map(_text, value))


_DECODERS: dict[MetadataType, Callable[[Any], MetadataValue]] = {
    MetadataType.STRING: _text,
    MetadataType.INTEGER: _integer,
    MetadataType.DOUBLE: _double,
    MetadataType.BOOLEAN: _boolean,
    MetadataType.TIMESTAMP: _timestamp,
    MetadataType.STRING_LIST: _texts,
}
