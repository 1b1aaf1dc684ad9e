from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from datetime import date, datetime

import openpyxl
import pytest
from openpyxl.workbook import Workbook

from ingest_worker.parse import limits, parse_document, xlsx
from rag_server.domain.document import BlockKind, MediaType, ParsedDocument
from rag_server.errors import InvalidArgument, ResourceExhausted

HEADING, PARAGRAPH, TABLE = BlockKind.HEADING, BlockKind.PARAGRAPH, BlockKind.TABLE


def made(build: Callable[[Workbook], object]) -> bytes:
    workbook = openpyxl.Workbook()
    build(workbook)
    target = io.BytesIO()
    workbook.save(target)
    return target.getvalue()


def changed(data: bytes, part: str, change: Callable[[bytes], bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            content = source.read(name)
            copy.writestr(name, change(content) if name == part else content)
    return target.getvalue()


def parse(data: bytes) -> ParsedDocument:
    return parse_document(data, MediaType.XLSX)


def said(data: bytes) -> list[tuple[BlockKind, str]]:
    parsed = parse(data)
    return [(b.kind, parsed.text[b.span.start : b.span.end]) for b in parsed.blocks]


def test_parse_xlsx_each_visible_sheet_is_a_heading_with_its_tables() -> None:
    def build(workbook: Workbook) -> None:
        sheet = workbook.active
        sheet.title = "Stock"
        sheet["B2"] = "Stock in May"
        for row, values in enumerate((("Item", "Left"), ("nut", 4), ("bolt", 2.5)), 3):
            for column, value in enumerate(values, 2):
                sheet.cell(row, column, value)
        sheet["B8"], sheet["C8"] = "Who", "When"
        sheet["B9"], sheet["C9"] = "Ann", date(2024, 5, 1)
        hidden = workbook.create_sheet("Secret")
        hidden["A1"], hidden.sheet_state = "hidden text", "hidden"
        workbook.create_sheet("More")["A1"] = "alone"

    assert said(made(build)) == [
        (HEADING, "Stock"),
        (PARAGRAPH, "Stock in May"),
        (TABLE, "| Item | Left |\n| --- | --- |\n| nut | 4 |\n| bolt | 2.5 |"),
        (TABLE, "| Who | When |\n| --- | --- |\n| Ann | 2024-05-01 |"),
        (HEADING, "More"),
        (PARAGRAPH, "alone"),
    ]


def test_parse_xlsx_values_read_as_in_the_sheet() -> None:
    def build(workbook: Workbook) -> None:
        sheet = workbook.active
        sheet.append(["share", "price", "sum", "at", "ok"])
        sheet.append([0.125, 3, 0.1 + 0.2, datetime(2024, 5, 1, 13, 45), True])  # noqa: DTZ001 - a sheet has no zones
        sheet["A2"].number_format = "0.0%"
        sheet["B2"].number_format = "#,##0.00"

    assert said(made(build))[1][1].endswith("| 12.5% | 3.00 | 0.3 | 2024-05-01 13:45 | TRUE |")


def test_parse_xlsx_cells_merged_over_rows_repeat_their_value() -> None:
    def build(workbook: Workbook) -> None:
        sheet = workbook.active
        for row in (("region", "city"), ("north", "a"), (None, "b"), (None, "c"), ("south", "d")):
            sheet.append(row)
        sheet.merge_cells("A2:A4")

    rows = "| region | city |\n| --- | --- |\n| north | a |\n| north | b |\n| north | c |\n| south | d |"
    assert said(made(build))[1] == (TABLE, rows)


def test_parse_xlsx_declared_size_costs_nothing() -> None:
    """A sheet may declare a million rows of 16 384 columns and hold two cells."""
    data = made(lambda workbook: workbook.active.append(["a", "b"]))
    data = changed(
        data,
        "xl/worksheets/sheet1.xml",
        lambda content: content.replace(b'<dimension ref="A1:B1"', b'<dimension ref="A1:XFD1048576"'),
    )
    assert said(data) == [(HEADING, "Sheet"), (TABLE, "| a | b |\n| --- | --- |")]


def test_parse_xlsx_far_cells_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(workbook: Workbook) -> None:
        workbook.active["A1"] = "near"
        for row in range(2, 6):
            workbook.active.cell(row, 16_384, "far")

    data = made(build)
    assert "far" in parse(data).text
    monkeypatch.setattr(xlsx, "MAX_CELLS", 40_000)
    with pytest.raises(ResourceExhausted) as caught:
        parse(data)
    assert caught.value.reason == "DOCUMENT_TOO_LARGE"


def with_shared_strings(content: bytes, row_count: int) -> bytes:
    """Return a workbook whose rows each hold the first of the shared strings in `content`."""
    rows = "".join(f'<row r="{r}"><c r="A{r}" t="s"><v>0</v></c></row>' for r in range(1, row_count + 1))
    namespace = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    sheet = f'<worksheet xmlns="{namespace}"><sheetData>{rows}</sheetData></worksheet>'.encode()
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    override = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}"/></Types>'.encode()
    data = changed(made(lambda workbook: None), "xl/worksheets/sheet1.xml", lambda _: sheet)
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            if name == "[Content_Types].xml":
                types = source.read(name)
                is_named = b"sharedStrings" in types
                copy.writestr(name, types if is_named else types.replace(b"</Types>", override))
            elif name != "xl/sharedStrings.xml":
                copy.writestr(name, source.read(name))
        copy.writestr("xl/sharedStrings.xml", content)
    return target.getvalue()


def shared(text: str) -> bytes:
    namespace = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    return f'<sst xmlns="{namespace}"><si><t>{text}</t></si></sst>'.encode()


def test_parse_xlsx_shared_text_repeated_beyond_the_limit_raises_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = with_shared_strings(shared("x" * 1000), 50)
    assert len(parse(data).text) > 50_000
    monkeypatch.setattr(limits, "MAX_CHARACTERS", 40_000)
    with pytest.raises(ResourceExhausted):
        parse(data)


def test_parse_xlsx_without_values_raises_has_no_text() -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(made(lambda workbook: None))
    assert caught.value.reason == "DOCUMENT_HAS_NO_TEXT"


def test_parse_xlsx_with_password_raises_encrypted() -> None:
    data = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500) + "EncryptedPackage".encode("utf-16-le")
    with pytest.raises(InvalidArgument) as caught:
        parse(data)
    assert caught.value.reason == "DOCUMENT_ENCRYPTED"


BOMB = (
    b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><worksheet><sheetData>&b;</sheetData></worksheet>'
)


@pytest.mark.parametrize("part", ["xl/workbook.xml", "xl/worksheets/sheet1.xml", "[Content_Types].xml"])
@pytest.mark.parametrize("content", [b"<cut", b"", BOMB], ids=["cut", "empty", "entities"])
def test_parse_xlsx_with_a_damaged_part_raises_corrupt(part: str, content: bytes) -> None:
    data = made(lambda workbook: workbook.active.append(["a", "b"]))
    with pytest.raises(InvalidArgument) as caught:
        parse(changed(data, part, lambda _: content))
    assert caught.value.reason == "DOCUMENT_CORRUPT"


@pytest.mark.parametrize("content", [b"<cut", b"", BOMB], ids=["cut", "empty", "entities"])
def test_parse_xlsx_with_damaged_shared_strings_raises_corrupt(content: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(with_shared_strings(content, 1))
    assert caught.value.reason == "DOCUMENT_CORRUPT"
