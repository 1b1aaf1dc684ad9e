from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import openpyxl
import pytest

from ingest_worker.parse.records import read
from ingest_worker.parse.records.read import read_records, table_type
from rag_server.domain.document import MediaType, ParsedDocument, Records
from rag_server.domain.job_items import MAX_ITEM_ERRORS
from rag_server.domain.metadata import MetadataType
from rag_server.domain.records import MAX_RECORD_CHARACTERS, RecordField, RecordMapping
from rag_server.errors import InvalidArgument, ResourceExhausted

PRICE = RecordField("price", "price", MetadataType.DOUBLE)
STOCK = RecordField("stock", "stock", MetadataType.INTEGER)
CATALOGUE = """sku,name,category,price,stock
A-1,Heron 13,laptops,499.99,3
A-2,"Wader, large",laptops,1250,0
B-1,Reed,mice,19.5,12
"""
MAPPING = RecordMapping(
    template="{name} ({category})",
    fields=(RecordField("category", "category", MetadataType.STRING), PRICE, STOCK),
    key_column="sku",
)


def records_of(parsed: ParsedDocument) -> Records:
    assert parsed.records is not None
    return parsed.records


def texts_of(parsed: ParsedDocument) -> list[str]:
    return [parsed.text[each.span.start : each.span.end] for each in records_of(parsed).taken]


def csv(text: str, mapping: RecordMapping | None = None) -> ParsedDocument:
    return read_records(text.encode(), MediaType.CSV, mapping or RecordMapping())


def workbook(**sheets: list[list[Any]]) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def test_rows_of_csv_become_records_with_typed_metadata() -> None:
    parsed = csv(CATALOGUE, MAPPING)
    assert texts_of(parsed) == ["Heron 13 (laptops)", "Wader, large (laptops)", "Reed (mice)"]
    found = records_of(parsed)
    assert [each.key for each in found.taken] == ["A-1", "A-2", "B-1"]
    assert found.taken[1].metadata == {"category": "laptops", "price": 1250.0, "stock": 0}
    assert type(found.taken[1].metadata["price"]) is float
    assert found.failed_count == 0
    assert [block.span for block in parsed.blocks] == [each.span for each in found.taken]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_delimiter_is_told_by_the_content(delimiter: str) -> None:
    parsed = csv(CATALOGUE.replace('"Wader, large"', "Wader").replace(",", delimiter), MAPPING)
    assert [each.key for each in records_of(parsed).taken] == ["A-1", "A-2", "B-1"]


def test_without_a_template_the_text_is_a_line_for_each_column_with_a_value() -> None:
    assert texts_of(csv("name,colour,size\nheron,grey,\nreed,,2\n")) == [
        "name: heron\ncolour: grey",
        "name: reed\nsize: 2",
    ]


def test_row_numbers_count_the_header_and_blank_rows() -> None:
    parsed = csv("name,price\nheron,1\n\n,\nreed,cheap\n", RecordMapping(fields=(PRICE,)))
    (error,) = records_of(parsed).errors
    assert error.item == "row 5"
    assert error.metadata == {"row": "5", "column": "price", "type": "double", "value": "cheap"}
    assert error.reason == "RECORD_VALUE_INVALID"
    assert "decimal point" in error.message


@pytest.mark.parametrize(
    ("row", "reason", "column"),
    [
        ("A-9,Crane,birds,,1", "RECORD_VALUE_MISSING", "price"),
        ("A-9,Crane,birds,12.5,many", "RECORD_VALUE_INVALID", "stock"),
        ("A-9,Crane,birds,1,2.5", "RECORD_VALUE_INVALID", "stock"),
        ('A-9,Crane,birds,"1,000",2', "RECORD_VALUE_INVALID", "price"),
        (",Crane,birds,1,2", "RECORD_VALUE_MISSING", "sku"),
        ("A-1,Crane,birds,1,2", "RECORD_KEY_REPEATED", "sku"),
        ("A" * 300 + ",Crane,birds,1,2", "RECORD_VALUE_INVALID", "sku"),
        ("A-9,Crane,birds,1,2,three", "RECORD_MALFORMED", None),
        ("A-9," + "x" * (MAX_RECORD_CHARACTERS + 1) + ",birds,1,2", "RECORD_TEXT_INVALID", None),
    ],
)
def test_row_that_cannot_be_taken_is_left_out_and_the_others_go_on(
    row: str, reason: str, column: str | None
) -> None:
    parsed = csv(f"{CATALOGUE}{row}\nC-1,Last,mice,1,1\n", MAPPING)
    found = records_of(parsed)
    assert [each.key for each in found.taken] == ["A-1", "A-2", "B-1", "C-1"]
    assert found.failed_count == 1
    (error,) = found.errors
    assert (error.item, error.reason) == ("row 5", reason)
    assert error.metadata.get("column") == column
    assert error.metadata["row"] == "5"


def test_key_of_a_row_that_was_left_out_is_not_taken() -> None:
    parsed = csv("sku,price\nA,dear\nA,2\n", RecordMapping(fields=(PRICE,), key_column="sku"))
    found = records_of(parsed)
    assert [each.metadata for each in found.taken] == [{"price": 2.0}]
    assert found.failed_count == 1


def test_row_whose_text_is_blank_is_left_out() -> None:
    parsed = csv("name,price\n,3\nreed,4\n", RecordMapping(template=" {name} "))
    assert texts_of(parsed) == ["reed"]
    assert records_of(parsed).errors[0].reason == "RECORD_TEXT_INVALID"


def test_row_with_too_much_metadata_is_left_out() -> None:
    fields = tuple(RecordField(f"c{each}", f"c{each}", MetadataType.STRING) for each in range(5))
    header = "name," + ",".join(field.column for field in fields)
    row = "reed," + ",".join(["x" * 4000] * 5)
    parsed = csv(f"{header}\n{row}\n{header}\n", RecordMapping(template="{name}", fields=fields))
    (error,) = records_of(parsed).errors
    assert (error.item, error.reason) == ("row 2", "RECORD_TEXT_INVALID")


def test_optional_column_without_a_value_leaves_its_field_out() -> None:
    optional = RecordField("price", "price", MetadataType.DOUBLE, is_optional=True)
    parsed = csv("name,price\nheron,\nreed,2\n", RecordMapping(fields=(optional,)))
    assert [each.metadata for each in records_of(parsed).taken] == [{}, {"price": 2.0}]


def test_errors_are_bounded_and_counted() -> None:
    count = MAX_ITEM_ERRORS + 10
    parsed = csv("name,price\n" + "heron,dear\n" * count + "reed,1\n", RecordMapping(fields=(PRICE,)))
    assert len(records_of(parsed).errors) == MAX_ITEM_ERRORS
    assert records_of(parsed).failed_count == count


def test_document_without_a_row_that_can_be_taken_tells_why() -> None:
    parsed = csv("name,price\nheron,dear\n", RecordMapping(fields=(PRICE,)))
    assert parsed.text == ""
    assert records_of(parsed).taken == ()
    assert records_of(parsed).failed_count == 1


@pytest.mark.parametrize(
    ("mapping", "missing"),
    [
        (RecordMapping(template="{name} {weight} {size}"), "'weight', 'size'"),
        (RecordMapping(fields=(RecordField("weight", "w", MetadataType.STRING),)), "'weight'"),
        (RecordMapping(key_column="id"), "'id'"),
    ],
)
def test_columns_that_are_not_there_are_named_with_those_that_are(
    mapping: RecordMapping, missing: str
) -> None:
    with pytest.raises(InvalidArgument, match="its columns are 'name', 'price'") as caught:
        csv("name,price\nheron,1\n", mapping)
    assert caught.value.reason == "RECORD_COLUMN_UNKNOWN"
    assert caught.value.metadata["missing"] == missing


def test_column_that_is_there_twice_is_refused_where_it_is_needed() -> None:
    text = "name,price,price\nheron,1,2\n"
    with pytest.raises(InvalidArgument, match="more than one column named 'price'") as caught:
        csv(text, RecordMapping(fields=(PRICE,)))
    assert caught.value.reason == "RECORD_COLUMN_UNKNOWN"
    assert texts_of(csv(text, RecordMapping(template="{name}"))) == ["heron"]


@pytest.mark.parametrize("text", ["name,price\n", "name,price\n,\n\n"])
def test_table_without_rows_has_no_text(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        csv(text)
    assert caught.value.reason == "DOCUMENT_HAS_NO_TEXT"


def test_lines_of_json_are_records_with_all_kinds_of_values() -> None:
    first = {"name": "Heron", "price": 499, "new": True, "tags": ["grey", "tall"]}
    second = {"name": "Reed", "price": 1e1, "new": False, "tags": ["thin"], "more": {"a": 1}}
    lines = [{**first, "made": "2026-01-31T10:00:00+02:00"}, {**second, "made": "2026-02-01"}]
    data = "\n\n".join(map(json.dumps, lines)).encode()
    mapping = RecordMapping(
        "{name}: {more}",
        (
            PRICE,
            RecordField("new", "is_new", MetadataType.BOOLEAN),
            RecordField("tags", "tags", MetadataType.STRING_LIST),
            RecordField("made", "made", MetadataType.TIMESTAMP),
        ),
    )
    parsed = read_records(data, MediaType.JSONL, mapping)
    assert texts_of(parsed) == ["Heron:", 'Reed: {"a": "1"}']
    heron, reed = records_of(parsed).taken
    assert heron.metadata == {
        "price": 499.0,
        "is_new": True,
        "tags": ("grey", "tall"),
        "made": datetime(2026, 1, 31, 8, tzinfo=UTC),
    }
    assert reed.metadata["made"] == datetime(2026, 2, 1, tzinfo=UTC)
    assert reed.metadata["price"] == 10.0


def test_line_that_is_no_object_is_left_out() -> None:
    parsed = read_records(b'{"name": "a"}\n[1]\n{"name": \n{"name": "b"}\n', MediaType.JSONL, RecordMapping())
    assert texts_of(parsed) == ["name: a", "name: b"]
    assert [(each.item, each.reason) for each in records_of(parsed).errors] == [
        ("row 2", "RECORD_MALFORMED"),
        ("row 3", "RECORD_MALFORMED"),
    ]


def test_line_without_a_mapped_key_is_left_out() -> None:
    data = b'{"name": "a", "price": 1}\n{"name": "b"}\n{"name": "c", "price": null}\n'
    parsed = read_records(data, MediaType.JSONL, RecordMapping("{name}", (PRICE,)))
    assert texts_of(parsed) == ["a"]
    assert [each.reason for each in records_of(parsed).errors] == ["RECORD_VALUE_MISSING"] * 2


def test_sheet_keeps_the_types_of_its_cells() -> None:
    made = datetime(2026, 1, 31, 9)  # noqa: DTZ001 - sheets know no zones
    rows: list[list[Any]] = [["name", "price", "stock", "made"], ["Heron", 12.5, 3.0, made]]
    mapping = RecordMapping(
        "{name} of {made}", (PRICE, STOCK, RecordField("made", "made", MetadataType.TIMESTAMP))
    )
    parsed = read_records(workbook(Goods=rows), MediaType.XLSX, mapping)
    assert texts_of(parsed) == ["Heron of 2026-01-31 09:00"]
    assert records_of(parsed).taken[0].metadata == {
        "price": 12.5,
        "stock": 3,
        "made": datetime(2026, 1, 31, 9, tzinfo=UTC),
    }


def test_sheet_is_chosen_by_name_and_is_else_the_first() -> None:
    data = workbook(First=[["name"], ["a"]], Second=[["name"], ["b"]])
    assert texts_of(read_records(data, MediaType.XLSX, RecordMapping())) == ["name: a"]
    assert texts_of(read_records(data, MediaType.XLSX, RecordMapping(sheet="Second"))) == ["name: b"]
    with pytest.raises(InvalidArgument, match="it has 'First', 'Second'") as caught:
        read_records(data, MediaType.XLSX, RecordMapping(sheet="Third"))
    assert caught.value.reason == "RECORD_SHEET_NOT_FOUND"


def test_format_without_rows_is_refused() -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_records(b"# Heron", MediaType.MARKDOWN, RecordMapping())
    assert caught.value.reason == "RECORDS_NOT_SUPPORTED"
    assert caught.value.metadata == {"detected_media_type": "text/markdown"}


def test_text_without_a_format_is_read_as_csv() -> None:
    assert table_type(MediaType.TEXT) is MediaType.CSV
    assert table_type(MediaType.XLSX) is MediaType.XLSX


def test_damaged_workbook_is_refused() -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_records(workbook(A=[["name"], ["a"]])[:400], MediaType.XLSX, RecordMapping())
    assert caught.value.reason == "DOCUMENT_CORRUPT"


@pytest.mark.parametrize(
    ("media_type", "data"),
    [(MediaType.CSV, b"name\n" + b"x\n" * 4), (MediaType.JSONL, b'{"name": "x"}\n' * 4)],
)
def test_more_records_than_a_document_may_have_are_refused(
    media_type: MediaType, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "MAX_RECORDS", 3)
    with pytest.raises(ResourceExhausted, match="more than 3 records") as caught:
        read_records(data, media_type, RecordMapping())
    assert caught.value.reason == "DOCUMENT_TOO_LARGE"
