"""Scanned pages through the PDF parser, with a recogniser that is told what to find."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from ingest_worker.parse import limits, pdf
from ingest_worker.parse.ocr.recogniser import RecognitionFailed, TextBox
from ingest_worker.parse.ocr.scan_reader import ScanReader, render_scale
from ingest_worker.parse.page_progress import listen
from ingest_worker.parse.pdf import PdfParser
from rag_server.domain.page_boxes import UNITS
from rag_server.errors import InvalidArgument, ResourceExhausted
from tests import documents

Found = str | Exception


class ScriptedRecogniser:
    """Finds one line on each picture: the next of the texts that it is made with."""

    def __init__(self, *found: Found, took_s: float = 0.0) -> None:
        self._found: Iterator[Found] = iter(found)
        self._took_s = took_s
        self.now_s = 0.0
        self.pictures: list[NDArray[np.uint8]] = []

    def read(self, picture: NDArray[np.uint8]) -> list[TextBox]:
        assert not pdf._LIBRARY_LOCK.locked(), "PDFium is kept from others while a page is read"
        self.pictures.append(picture)
        self.now_s += self._took_s
        found = next(self._found)
        if isinstance(found, Exception):
            raise found
        return [TextBox(found, 100, 100, 600, 130)] if found else []

    def clock(self) -> float:
        return self.now_s


def parser(recogniser: ScriptedRecogniser, limit_s: float = 60.0) -> PdfParser:
    return PdfParser(lambda: ScanReader(recogniser, limit_s, clock=recogniser.clock))


def scans(count: int) -> bytes:
    return documents.pdf_scanned(count)


def test_scanned_pages_become_text_with_their_numbers() -> None:
    parsed = parser(ScriptedRecogniser("first page", "second page")).parse(scans(2))
    assert parsed.text == "first page\n\nsecond page"
    assert [block.page for block in parsed.blocks] == [1, 2]
    assert parsed.pages_without_text == ()


def test_lines_read_on_scanned_pages_say_where_they_stand_when_asked() -> None:
    recogniser = ScriptedRecogniser("first page", "second page")
    reader = PdfParser(lambda: ScanReader(recogniser, 60.0, clock=recogniser.clock), page_boxes=True)
    places = reader.parse(scans(2)).places
    assert places is not None
    height, width = recogniser.pictures[0].shape
    edges = (100 / width, 100 / height, 600 / width, 130 / height)
    for page, (_, _, box) in enumerate(places.within(0, 1000), start=1):
        assert box.page == page
        found = (box.left, box.top, box.right, box.bottom)
        assert all(abs(one / UNITS - other) < 0.002 for one, other in zip(found, edges, strict=True))
    assert len(places) == 2


def test_pages_with_a_text_layer_and_blank_pages_are_not_recognised() -> None:
    recogniser = ScriptedRecogniser()
    data = documents.pdf([[("BodyText", "one")], [("BodyText", "&nbsp;")]])
    assert parser(recogniser).parse(data).text == "one"
    assert recogniser.pictures == []


@pytest.mark.parametrize("found", ["", " ", RecognitionFailed()])
def test_a_page_on_which_nothing_is_read_stays_named(found: Found) -> None:
    parsed = parser(ScriptedRecogniser("first", found, "third")).parse(scans(3))
    assert parsed.text == "first\n\nthird"
    assert parsed.pages_without_text == (2,)


def test_nothing_read_on_any_page_raises_has_no_text_and_says_that_ocr_was_tried() -> None:
    with pytest.raises(InvalidArgument, match="OCR read nothing on them") as caught:
        parser(ScriptedRecogniser("", "")).parse(scans(2))
    assert caught.value.reason == "DOCUMENT_HAS_NO_TEXT"


def test_without_ocr_the_error_says_how_to_turn_it_on() -> None:
    with pytest.raises(InvalidArgument, match="RAG_PARSER__OCR"):
        PdfParser().parse(scans(1))


def test_pages_that_the_time_does_not_suffice_for_stay_named() -> None:
    recogniser = ScriptedRecogniser("one", "two", "three", took_s=4.0)
    assert parser(recogniser, limit_s=11.0).parse(scans(5)).pages_without_text == (3, 4, 5)
    assert len(recogniser.pictures) == 2  # a third may end after the limit


def test_each_document_has_its_own_time() -> None:
    recogniser = ScriptedRecogniser("one", "two", took_s=4.0)
    reading = parser(recogniser, limit_s=5.0)
    assert [reading.parse(scans(1)).text for _ in range(2)] == ["one", "two"]


def test_progress_is_told_after_each_page() -> None:
    told: list[tuple[int, int]] = []
    with listen(lambda done, total: told.append((done, total))):
        parser(ScriptedRecogniser("one", "two")).parse(scans(2))
    assert told == [(1, 2), (2, 2)]


def test_text_that_is_read_counts_towards_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CHARACTERS", 7)
    with pytest.raises(ResourceExhausted) as caught:
        parser(ScriptedRecogniser("four", "five")).parse(scans(2))
    assert caught.value.reason == "DOCUMENT_TOO_LARGE"


def test_pictures_are_grey_and_show_the_page() -> None:
    recogniser = ScriptedRecogniser("x")
    parser(recogniser).parse(scans(1))
    (picture,) = recogniser.pictures
    height, width = picture.shape
    assert picture.dtype == np.uint8
    assert height / width == pytest.approx(documents.A4[1] / documents.A4[0], rel=0.01)
    assert picture[height // 2, width // 2] == 0  # the drawing, in black
    assert picture[5, 5] == 255


@pytest.mark.parametrize(
    "size", [(595.0, 842.0), (14_400.0, 14_400.0), (1.0, 14_400.0), (0.1, 0.1), (1e6, 3.0)]
)
def test_pictures_of_pages_of_any_size_are_bounded(size: tuple[float, float]) -> None:
    scale = render_scale(*size)
    assert 0 < scale <= 200 / 72
    assert size[0] * size[1] * scale**2 <= 4_000_001
    assert max(size) * scale <= 4000.1


def test_a_page_that_cannot_be_drawn_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise pdf.pypdfium2.PdfiumError("no bitmap")

    monkeypatch.setattr(pdf.pypdfium2.PdfPage, "render", refuse)
    with pytest.raises(InvalidArgument, match="page 1 cannot be drawn") as caught:
        parser(ScriptedRecogniser("x")).parse(scans(1))
    assert caught.value.reason == "DOCUMENT_CORRUPT"
    assert not pdf._LIBRARY_LOCK.locked()
