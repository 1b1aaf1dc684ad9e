"""PDF: text, pages, paragraphs and headings (pypdfium2). Scanned pages are not read: there is no OCR here."""

from __future__ import annotations

import re
import threading
from contextlib import closing
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from ingest_worker.parse import faults
from ingest_worker.parse.assembly import assemble
from ingest_worker.parse.limits import require_characters
from ingest_worker.parse.pdf_layout import Line, blocks_of
from rag_server.domain.document import BlockKind, MediaType, ParsedDocument

_LIBRARY_LOCK = threading.Lock()
"""PDFium may be called by one thread at a time in the whole process, so this lock belongs to the process."""

_PASSWORD_ERRORS = {pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY}
_PLACEHOLDER_TITLES = {"", "(anonymous)", "anonymous", "untitled", "untitled document", "(untitled)"}
_LINEARIZED = re.compile(rb"/Linearized\b[^>]{0,300}?/L\s+(\d+)")
_OBJECT = re.compile(rb"\d+\s+\d+\s+obj\b")


class PdfParser:
    """Parser of `application/pdf`. Holds the library's lock for one page at a time."""

    media_types = frozenset({MediaType.PDF})

    def parse(self, data: bytes) -> ParsedDocument:
        with _LIBRARY_LOCK:
            document = _open(data)
        try:
            _require_complete(data)
            with _LIBRARY_LOCK:
                page_count = len(document)
                title = document.get_metadata_value("Title")
            pages = _read_pages(document, page_count)
        finally:
            with _LIBRARY_LOCK:
                document.close()
        blocks = blocks_of(pages)
        if not blocks:
            raise faults.has_no_text(
                f"none of its {page_count} pages has a text layer, as in scans; run OCR over it first"
            )
        if title.strip().lower() in _PLACEHOLDER_TITLES:
            title = next((block.text for block in blocks if block.kind is BlockKind.HEADING), "")
        return assemble(blocks, title=title, page_count=page_count)


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


def _read_pages(document: pypdfium2.PdfDocument, page_count: int) -> list[list[Line]]:
    pages: list[list[Line]] = []
    done = 0
    for index in range(page_count):
        lines, characters = _read_page(document, index, done)
        pages.append(lines)
        done += characters
    return pages


def _read_page(document: pypdfium2.PdfDocument, index: int, done: int) -> tuple[list[Line], int]:
    """Return the lines of the page, in the order of its content stream, and how many characters it has.

    Raises `ResourceExhausted` where these and the `done` characters of the pages before it are too many.
    """
    with _LIBRARY_LOCK:
        try:
            with closing(document[index]) as page, closing(page.get_textpage()) as text:
                characters = text.count_chars()
                require_characters(done + characters)
                return _lines(text), characters
        except pypdfium2.PdfiumError as error:
            raise faults.corrupt(f"is a PDF whose page {index + 1} cannot be read: damaged") from error


def _lines(text: Any) -> list[Line]:
    """Split the characters of a text page where PDFium generated a line end."""
    codes = [pdfium.FPDFText_GetUnicode(text, position) for position in range(text.count_chars())]
    lines: list[Line] = []
    start = 0
    for end in [position for position, code in enumerate(codes) if code == ord("\n")] + [len(codes)]:
        visible = [position for position in range(start, end) if codes[position] > ord(" ")]
        said = _decode(codes[start:end])
        if visible and said.strip():  # controls are no white space, no-break spaces are not below the space
            first, last = visible[0], visible[-1]
            left, top = _origin(text, first)
            lines.append(Line(said, _font_size(text, first), left, top, _origin(text, last)[1]))
        start = end + 1
    return lines


def _decode(codes: list[int]) -> str:
    """Join code points; characters beyond the Basic Multilingual Plane may come as two surrogates."""
    said = "".join(chr(code) for code in codes if 0 < code < 0x110000)  # noqa: PLR2004 - the end of Unicode
    return said.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


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
