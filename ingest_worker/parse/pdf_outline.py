"""The outline of a PDF (its bookmarks) as headings, at the places that its entries point to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from ingest_worker.parse.assembly import one_line
from ingest_worker.parse.pdf_layout import Bookmark, Line

_MAX_BOOKMARKS = 10_000
_MAX_DEPTH = 6
_TITLE_CHARACTERS = 300
_MAX_LINES = 3
"""Over which a heading may run."""
_MAX_CANDIDATES = 20
_NO_TITLE = re.compile(
    r"(?:page|página|seite|slide|p\.?)?\s*\d+|untitled|_\w+|[\w-]+\.(?:pdf|docx?|pptx?|tex|indd|dvi)",
    re.IGNORECASE,
)
"""What programs write where nobody gave a title: page numbers, anchors, names of files."""
_NO_LETTER = re.compile(r"[\W_]+")
_NUMBER = re.compile(r"\d+(?=\D)")


def read_outline(document: pypdfium2.PdfDocument) -> list[Bookmark]:
    """Return the entries that have a title and a place in the document, 10 000 at most.

    Call it under the lock of the library.
    """
    bookmarks: list[Bookmark] = []
    for entry in islice(document.get_toc(max_depth=_MAX_DEPTH), _MAX_BOOKMARKS):
        title = one_line(entry.get_title())[:_TITLE_CHARACTERS]
        destination = entry.get_dest()
        page = destination.get_index() if destination is not None else None
        if page is not None and _key(title) and not _NO_TITLE.fullmatch(title):
            bookmarks.append(Bookmark(title, entry.level + 1, page, _top(destination)))
    return bookmarks


def place_bookmarks(pages: Sequence[Sequence[Line]], bookmarks: Sequence[Bookmark]) -> list[list[Line]]:
    """Return `pages` with each line marked that says what a bookmark says, and a line for those without.

    A page without any text stays empty.
    """
    placed = [list(page) for page in pages]
    by_page: dict[int, list[Bookmark]] = {}
    for bookmark in bookmarks:
        by_page.setdefault(bookmark.page, []).append(bookmark)
    for number, there in by_page.items():
        if number < len(placed) and placed[number]:
            placed[number] = _placed(placed[number], there)
    return placed


def _placed(lines: list[Line], bookmarks: Sequence[Bookmark]) -> list[Line]:
    marked: list[Line] = list(lines)
    runs = _runs(lines)
    before: dict[int, list[Line]] = {}
    for bookmark in bookmarks:
        same = [
            run for run in runs.get(_key(bookmark.title), []) if not any(marked[at].bookmark for at in run)
        ]
        if same:
            run = min(same, key=lambda run: (_distance(lines[run[0]], bookmark), -lines[run[0]].font_size))
            for at in run:
                marked[at] = replace(lines[at], bookmark=bookmark)
        else:
            at = _place(lines, bookmark)
            below = lines[min(at, len(lines) - 1)]
            heading = replace(below, text=bookmark.title, bookmark=bookmark, boxes=())
            before.setdefault(at, []).append(heading)
    return [line for at in range(len(lines) + 1) for line in (*before.get(at, ()), *marked[at : at + 1])]


def _runs(lines: Sequence[Line]) -> dict[str, list[range]]:
    """Return where up to three lines in a row say something, by what they say."""
    runs: dict[str, list[range]] = {}
    for start in range(len(lines)):
        said = ""
        for end in range(start, min(start + _MAX_LINES, len(lines))):
            said += f" {lines[end].text}"
            if len(said) > 2 * _TITLE_CHARACTERS:
                break
            same = runs.setdefault(_key(said), [])
            if len(same) < _MAX_CANDIDATES:
                same.append(range(start, end + 1))
    return runs


def _place(lines: Sequence[Line], bookmark: Bookmark) -> int:
    """Return the position of the first line at or below the place that `bookmark` points to."""
    if bookmark.top is None:
        return 0
    return next((at for at, line in enumerate(lines) if line.first_baseline <= bookmark.top), len(lines))


def _distance(line: Line, bookmark: Bookmark) -> float:
    """Return how far `line` is from where `bookmark` points to, in points, in steps of two lines."""
    if bookmark.top is None:
        return 0
    return abs(line.first_baseline - bookmark.top) // (2 * max(line.font_size, 1))


def _top(destination: Any) -> float | None:
    mode, position = destination.get_view()
    if mode == pdfium.PDFDEST_VIEW_XYZ and len(position) > 1:
        return float(position[1]) or None  # 0 stands for: wherever the reader is
    if mode in {pdfium.PDFDEST_VIEW_FITH, pdfium.PDFDEST_VIEW_FITBH} and position:
        return float(position[0]) or None
    return None


def _key(text: str) -> str:
    """Return what is compared of a title: letters and digits, without a number before them."""
    letters = _NO_LETTER.sub("", text).casefold()
    return _NUMBER.sub("", letters, count=1) if letters[:1].isdigit() else letters
