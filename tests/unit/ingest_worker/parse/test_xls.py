from __future__ import annotations

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_worker.parse import limits, parse_document, xls
from rag_server.domain.document import MediaType
from rag_server.errors import InvalidArgument, ResourceExhausted
from tests.documents_biff import HIDDEN, VERY_HIDDEN, Fault, Number, Sheet, record, workbook, workbook_stream
from tests.documents_compound import compound_file_of
from tests.unit.ingest_worker.parse.block_texts import parts_of

HIVES = Sheet("Hives", [["hive", "kilos"], ["north", Number(12)], ["south", Number(7.5)]])


def said(data: bytes) -> list[tuple[str, int, str]]:
    return parts_of(parse_document(data, MediaType.XLS))


def reason(data: bytes) -> str:
    with pytest.raises((InvalidArgument, ResourceExhausted)) as caught:
        parse_document(data, MediaType.XLS)
    return caught.value.reason


def test_xls_visible_sheets_are_headings_with_tables() -> None:
    data = workbook(
        HIVES,
        Sheet("Secret", [["hidden"]], visibility=HIDDEN),
        Sheet("Very", [["secret"]], visibility=VERY_HIDDEN),
        Sheet("Müll ✓", [["one line"]]),
    )
    assert said(data) == [
        ("heading", 1, "Hives"),
        ("table", 0, "| hive | kilos |\n| --- | --- |\n| north | 12 |\n| south | 7.5 |"),
        ("heading", 1, "Müll ✓"),
        ("paragraph", 0, "one line"),
    ]


def test_xls_cells_read_as_the_sheet_shows_them() -> None:
    values = [
        Number(2, "0.00"),
        Number(0.125, "0.0%"),
        Number(45_000, "yyyy-mm-dd"),
        Number(45_000.5, "yyyy-mm-dd"),
        Number(1.5, "[h]:mm:ss"),
        Number(0.25, "hh:mm"),
        Number(-5, "yyyy-mm-dd"),
        Number(1e9, "yyyy-mm-dd"),
        True,
        Fault(7),
        Fault(99),
    ]
    data = workbook(Sheet("S", [["text", *["v"] * 10], ["x|y"], ["row", *values]]))
    last = said(data)[-1][2].split("\n")[-1]
    assert last == (
        "| row | 2.00 | 12.5% | 2023-03-15 | 2023-03-15 12:00 | 36:00:00 | 06:00 "
        "| -5 | 1000000000 | TRUE | #DIV/0! |"
    )


def test_xls_merged_cells_repeat_their_value_in_each_row() -> None:
    sheet = Sheet(
        "S",
        [["hive", "year"], ["north", Number(1)], [None, Number(2)], [None, Number(3)]],
        merged=[(1, 2, 0, 0)],
    )
    assert said(workbook(sheet))[1][2].endswith("| north | 1 |\n| north | 2 |\n|  | 3 |")


def test_xls_of_excel_95_stream_name_is_read() -> None:
    assert said(workbook(HIVES, stream="Book"))[0] == ("heading", 1, "Hives")


def test_xls_with_a_password_raises_document_encrypted() -> None:
    assert reason(workbook(HIVES, after_start=record(0x2F, bytes(54)))) == "DOCUMENT_ENCRYPTED"


@pytest.mark.parametrize("sheets", [[], [Sheet("Empty")], [Sheet("Secret", [["x"]], visibility=HIDDEN)]])
def test_xls_without_visible_values_raises_document_has_no_text(sheets: list[Sheet]) -> None:
    assert reason(workbook(Sheet("Nothing"), *sheets)) == "DOCUMENT_HAS_NO_TEXT"


@pytest.mark.parametrize(
    "streams",
    [
        {"Other": b"x"},
        {"Workbook": b""},
        {"Workbook": b"\x09\x08\x10"},
        {"Workbook": workbook_stream(HIVES)[:-30]},
        {
            "Workbook": workbook_stream(HIVES).replace(
                struct.pack("<HH", 0xE0, 20), struct.pack("<HH", 0xE0, 2)
            )
        },
    ],
    ids=["no stream", "empty", "half a record", "cut sheet", "short style"],
)
def test_xls_damaged_raises_document_corrupt(streams: dict[str, bytes]) -> None:
    assert reason(compound_file_of(streams)) == "DOCUMENT_CORRUPT"


def test_xls_far_cells_beyond_the_limit_raise_document_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xls, "MAX_CELLS", 1_000)
    assert reason(workbook(Sheet("S", cells={(1_000, 0): "far down"}))) == "DOCUMENT_TOO_LARGE"
    assert reason(workbook(Sheet("S", cells={(row, 255): "far" for row in range(4)}))) == "DOCUMENT_TOO_LARGE"


def test_xls_too_much_text_raises_document_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CHARACTERS", 1_000)
    assert reason(workbook(Sheet("S", [["x" * 90]] * 12))) == "DOCUMENT_TOO_LARGE"


def test_xls_without_the_extra_is_unsupported_and_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xls, "xlrd", None)
    with pytest.raises(InvalidArgument, match=r"rag-server\[office\]") as caught:
        parse_document(workbook(HIVES), MediaType.XLS)
    assert caught.value.reason == "UNSUPPORTED_MEDIA_TYPE"
    assert caught.value.metadata["detected_media_type"] == MediaType.XLS
    assert MediaType.XLS not in caught.value.metadata["supported_media_types"].split(", ")


STREAM = workbook_stream(HIVES, Sheet("Two", [["a", True, Fault(7)]], merged=[(0, 1, 0, 0)]))


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    changes=st.lists(st.tuples(st.integers(0, len(STREAM) - 1), st.integers(0, 255)), min_size=1, max_size=8)
)
def test_xls_mutated_records_never_raise_another_error(changes: list[tuple[int, int]]) -> None:
    stream = bytearray(STREAM)
    for place, value in changes:
        stream[place] = value
    try:
        assert said(compound_file_of({"Workbook": bytes(stream)}))
    except (InvalidArgument, ResourceExhausted) as error:
        assert error.reason.startswith("DOCUMENT_")  # noqa: PT017 - most changes leave it readable
