from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from ingest_worker.parse.records.read import read_records
from ingest_worker.sandbox.codec import MalformedDocument
from ingest_worker.sandbox.limits import ParserLimits
from ingest_worker.sandbox.pool import ParserPool
from ingest_worker.sandbox.record_codec import decode_records, encode_records
from rag_server.domain.document import MediaType, Record, Records, Span
from rag_server.domain.job_items import ItemError
from rag_server.domain.metadata import MetadataType
from rag_server.domain.records import RecordField, RecordMapping
from rag_server.errors import InvalidArgument

T = MetadataType
MAPPING = RecordMapping(fields=tuple(RecordField(kind.value, kind.value, kind) for kind in T))
EVERYTHING: dict[str, Any] = {
    "string": "ñ\u2028\n",
    "integer": -(2**63),
    "double": 0.1,
    "boolean": True,
    "timestamp": datetime(2026, 1, 31, 9, 30, 0, 123, tzinfo=UTC),
    "string_list": ("a", "b"),
}
RECORDS = Records(
    (Record(Span(0, 3), "k", EVERYTHING), Record(Span(5, 6), "", {})),
    (ItemError("row 4", "RECORD_MALFORMED", "row 4: is not valid JSON", {"row": "4"}),),
    7,
)


def test_records_come_back_as_they_were() -> None:
    assert decode_records(encode_records(RECORDS), MAPPING, 6) == RECORDS


def test_record_with_the_most_metadata_comes_back() -> None:
    mapping = RecordMapping(fields=tuple(RecordField(f"f{n}", f"f{n}", T.STRING) for n in range(4)))
    large = Records((Record(Span(0, 1), "k", {f"f{n}": "\x01" * 4000 for n in range(4)}),))
    assert decode_records(encode_records(large), mapping, 1) == large


def lines(*rows: Any) -> bytes:
    return b"\n".join(json.dumps(row).encode() for row in rows)


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff",
        b"[" * 100_000,
        lines([-1]),
        lines([0], {"a": 1}),
        lines([0], [0]),
        lines([0], [0, 9, "", {}, 0]),
        lines([0], [3, 2, "", {}, 0]),
        lines([0], [0, 3, "", {}, 0], [2, 5, "", {}, 0]),
        lines([0], [0, 3, 5, {}, 0]),
        lines([0], [0, 3, "a\0", {}, 0]),
        lines([0], [0, 3, "\ud800", {}, 0]),
        lines([0], [0, 3, "", {"other": 1}, 0]),
        lines([0], [0, 3, "", {"integer": 2**63}, 0]),
        lines([0], [0, 3, "", {"integer": True}, 0]),
        lines([0], [0, 3, "", {"double": 1}, 0]),
        b'[0]\n[0, 3, "", {"double": NaN}, 0]',
        lines([0], [0, 3, "", {"boolean": 1}, 0]),
        lines([0], [0, 3, "", {"timestamp": 2**62}, 0]),
        lines([0], [0, 3, "", {"string": []}, 0]),
        lines([0], [0, 3, "", {"string_list": "ab"}, 0]),
        lines([0], [0, 3, "", {"string_list": [1]}, 0]),
        lines([0], ["row 1", "RECORD_MALFORMED", "m", {}]),
        lines([1], ["row 1", "not a reason", "m", {}]),
        lines([1], [1, "RECORD_MALFORMED", "m", {}]),
        lines([1], ["row 1", "RECORD_MALFORMED", "m", {"a": 1}]),
        lines([0], [0, 3, "x" * (1 << 18), {}, 0]),
    ],
)
def test_what_no_parser_of_ours_writes_is_refused(payload: bytes) -> None:
    with pytest.raises(MalformedDocument):
        decode_records(payload, MAPPING, 6)


async def test_pool_reads_rows_as_the_parser_does_in_this_process() -> None:
    data = b"sku,price,made\nA,1.5,2026-01-31\nB,dear,2026-01-31\n"
    mapping = RecordMapping(
        "{sku}: {price}",
        (RecordField("price", "price", T.DOUBLE), RecordField("made", "made", T.TIMESTAMP)),
        key_column="sku",
    )
    async with ParserPool(ParserLimits(), processes=1) as pool:
        media_type, parsed = await pool.parse(data, file_name="goods.csv", records=mapping)
        assert media_type is MediaType.CSV
        assert parsed.records == read_records(data, MediaType.CSV, mapping).records
        with pytest.raises(InvalidArgument) as caught:
            await pool.parse(data, file_name="goods.csv", records=RecordMapping("{weight}"))
        assert caught.value.reason == "RECORD_COLUMN_UNKNOWN"
        _, as_document = await pool.parse(data, file_name="goods.csv")
        assert as_document.records is None
