"""PDF: text, pages, paragraphs and headings (pypdfium2). Scanned pages are read where there is OCR."""

from __future__ import annotations

import functools
import re
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import repeat
from typing import TYPE_CHECKING, Any

import pypdfium2
import pypdfium2.raw as pdfium

from ingest_worker.parse import faults
from ingest_worker.parse.assembly import assemble
from ingest_worker.parse.limits import require_characters
from ingest_worker.parse.page_progress import report_pages
from ingest_worker.parse.pdf_boxes import page_edges
from ingest_worker.parse.pdf_layout import Line, blocks_of
from ingest_worker.parse.pdf_outline import place_bookmarks, read_outline
from rag_server.domain.document import BlockKind, MediaType, ParsedDocument

if TYPE_CHECKING:  # numpy, which a process that reads no scans does without
    from ingest_worker.parse.ocr.scan_reader import ScanReader

_LIBRARY_LOCK = threading.Lock()
"""PDFium may be called by one thread at a time in the whole process, so this lock belongs to the process."""

_PASSWORD_ERRORS = {pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY}
_PLACEHOLDER_TITLES = {"", "(anonymous)", "anonymous", "untitled", "untitled document", "(untitled)"}
_SHOWN_RANGES = 50
_BLANKS = "".join(map(chr, range(ord(" ") + 1)))
"""White space and controls."""
_LINEARIZED = re.compile(rb"/Linearized\b[^>]{0,300}?/L\s+(\d+)")
_OBJECT = re.compile(rb"\d+\s+\d+\s+obj\b")


class PdfParser:
    """Parser of `application/pdf`. Holds the library's lock for one page at a time.

    Args:
        scan_reader: Makes what reads the scanned pages of one document; None: they are not read.
        page_boxes: Whether to find out where on its pages the text stands (`ParsedDocument.places`).
    """

    media_types = frozenset({MediaType.PDF})

    def __init__(
        self, scan_reader: Callable[[], ScanReader] | None = None, *, page_boxes: bool = False
    ) -> None:
        self._scan_reader = scan_reader
        self._page_boxes = page_boxes

    def parse(self, data: bytes) -> ParsedDocument:
        with _LIBRARY_LOCK:
            document = _open(data)
        try:
            _require_complete(data)
            with _LIBRARY_LOCK:
                page_count = len(document)
                title = document.get_metadata_value("Title")
                outline = read_outline(document)
            scans = None if self._scan_reader is None else self._scan_reader()
            pages, scanned = _read_pages(document, page_count, scans, self._page_boxes)
        finally:
            with _LIBRARY_LOCK:
                document.close()
        if not any(pages):
            raise faults.has_no_text(_without_text(page_count, scanned, has_ocr=scans is not None))
        blocks = blocks_of(place_bookmarks(pages, outline))
        if title.strip().lower() in _PLACEHOLDER_TITLES:
            title = next((block.text for block in blocks if block.kind is BlockKind.HEADING), "")
        parsed = assemble(blocks, title=title, page_count=page_count, has_places=self._page_boxes)
        return replace(parsed, pages_without_text=tuple(scanned))


def _open(data: bytes) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if error.err_code in _PASSWORD_ERRORS:
            raise faults.encrypted() from error
        raise faults.corrupt("is a PDF that cannot be opened: truncated or damaged") from error


def _require_complete(data: bytes) -> None:
    """Raise where the end of the file is missing: PDFium repairs such files and may lose pages."""
    end = data.rfind(b"%%EOF")
    linearized = _LINEARIZED.search(data, 0, 2048)
    if end < 0 or _OBJECT.search(data, end) or (linearized and int(linearized[1]) > len(data)):
        raise faults.corrupt("is a PDF whose end is missing: truncated")


def _read_pages(
    document: pypdfium2.PdfDocument, page_count: int, scans: ScanReader | None, page_boxes: bool
) -> tuple[list[list[Line]], list[int]]:
    """Return the lines of each page, and the numbers of the pages that show something but have none.

    Raises what `_read_page` raises; the characters that `scans` reads count, too.
    """
    pages: list[list[Line]] = []
    scanned: list[int] = []
    done = 0
    for index in range(page_count):
        page = _read_page(document, index, done, page_boxes)
        lines = page.lines
        done += page.characters
        if page.shows_something and scans is not None:
            lines = _read_scan(scans, document, index)
            done += sum(len(line.text) for line in lines)
            require_characters(done)
        if page.shows_something and not lines:
            scanned.append(index + 1)
        pages.append(lines)
        report_pages(index + 1, page_count)
    return pages, scanned


@dataclass(frozen=True, slots=True)
class _Page:
    lines: list[Line]
    """In the order of its content stream."""
    characters: int
    shows_something: bool
    """Whether there are pictures or drawings on it, but no text."""


def _read_page(document: pypdfium2.PdfDocument, index: int, done: int, page_boxes: bool) -> _Page:
    """Return what is on a page, with boxes where they are wanted.

    Raises `ResourceExhausted` where its characters and the `done` ones of the pages before it are too many.
    """
    with _LIBRARY_LOCK:
        try:
            with closing(document[index]) as page, closing(page.get_textpage()) as text:
                characters = text.count_chars()
                require_characters(done + characters)
                lines = _lines(text, page if page_boxes else None)
                return _Page(lines, characters, not lines and _shows_something(page))
        except pypdfium2.PdfiumError as error:
            raise faults.corrupt(f"is a PDF whose page {index + 1} cannot be read: damaged") from error


def _read_scan(scans: ScanReader, document: pypdfium2.PdfDocument, index: int) -> list[Line]:
    try:
        return scans.read(document, index, _LIBRARY_LOCK)
    except pypdfium2.PdfiumError as error:
        raise faults.corrupt(f"is a PDF whose page {index + 1} cannot be drawn: damaged") from error


def _shows_something(page: pypdfium2.PdfPage) -> bool:
    objects = (
        pdfium.FPDFPage_GetObject(page, number) for number in range(pdfium.FPDFPage_CountObjects(page))
    )
    return any(pdfium.FPDFPageObj_GetType(each) != pdfium.FPDF_PAGEOBJ_TEXT for each in objects)


def _without_text(page_count: int, scanned: Sequence[int], *, has_ocr: bool) -> str:
    """Return what to say of a document whose pages hold no text."""
    if not scanned:
        return "all of its pages are blank"
    named = f"scanned: {page_ranges(scanned)}" if len(scanned) < page_count else "as in scans"
    if has_ocr:
        return f"none of its {page_count} pages has a text layer ({named}), and OCR read nothing on them"
    return (
        f"none of its {page_count} pages has a text layer ({named}); run OCR over it first, or have the "
        "server do so (RAG_PARSER__OCR)"
    )


def page_ranges(numbers: Sequence[int]) -> str:
    """Return page numbers, which are in order, as a reader writes them: `1-3, 7`. Long lists are cut."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    said = [f"{first}-{last}" if last > first else str(first) for first, last in runs]
    return ", ".join(said[:_SHOWN_RANGES]) + (" and more" if len(said) > _SHOWN_RANGES else "")


def _lines(text: Any, page: pypdfium2.PdfPage | None = None) -> list[Line]:
    """Split the characters of a text page where PDFium generated a line end; `page` is given for boxes."""
    codes = map(pdfium.FPDFText_GetUnicode, repeat(text.raw), range(text.count_chars()))
    lines: list[Line] = []
    start = 0
    for piece in "".join(map(_character, codes)).split("\n"):
        said, visible = _decode(piece), piece.strip(_BLANKS)
        if visible and said.strip():  # controls are no white space, no-break spaces are not below the space
            first = start + len(piece) - len(piece.lstrip(_BLANKS))
            last = first + len(visible) - 1
            left, top = _origin(text, first)
            boxes = () if page is None else page_edges(page, text, first, len(visible))
            lines.append(Line(said, _font_size(text, first), left, top, _origin(text, last)[1], boxes=boxes))
        start += len(piece) + 1
    return lines


@functools.lru_cache(maxsize=4096)
def _character(code: int) -> str:
    return chr(code) if code <= sys.maxunicode else "\0"


def _decode(piece: str) -> str:
    """Join code points; characters beyond the Basic Multilingual Plane may come as two surrogates."""
    piece = piece.replace("\0", "")
    if piece.isascii():
        return piece
    return piece.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _origin(text: Any, position: int) -> tuple[float, float]:
    """Return where a character stands on its page: from the left and from the bottom, in points."""
    left, bottom = pdfium.c_double(), pdfium.c_double()
    pdfium.FPDFText_GetCharOrigin(text, position, left, bottom)
    return left.value, bottom.value


def _font_size(text: Any, position: int) -> float:
    """Return the height of the character's font on the page, in points."""
    matrix = pdfium.FS_MATRIX()
    scale: float = 1.0
    if pdfium.FPDFText_GetMatrix(text, position, matrix):
        scale = (matrix.c**2 + matrix.d**2) ** 0.5 or 1.0
    return round(float(pdfium.FPDFText_GetFontSize(text, position)) * scale, 1)
