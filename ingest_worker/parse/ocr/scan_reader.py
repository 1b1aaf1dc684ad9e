"""`ScanReader`: reads scanned pages of one document after the other, each document within its time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest_worker.parse.ocr.page_lines import page_lines
from ingest_worker.parse.ocr.recogniser import Recogniser, RecognitionFailed
from ingest_worker.parse.pdf_layout import Line

_DOTS_PER_INCH = 200
_POINTS_PER_INCH = 72
_MAX_PIXELS = 4_000_000
"""A page of A4 at 200 dots per inch; larger pages are rendered at fewer."""
_MAX_SIDE = 4000
"""Longest side of a picture, in pixels."""


class ScanReader:
    """Reads scanned pages for one document, for which it is made.

    Args:
        recogniser: What reads pictures.
        limit_s: Time for all pages of the document together, in seconds. A page is begun only where the
            slowest one before it would still fit.
        clock: Seconds that only rise.
    """

    def __init__(
        self, recogniser: Recogniser, limit_s: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._recogniser = recogniser
        self._limit_s = limit_s
        self._clock = clock
        self._used_s = 0.0
        self._slowest_s = 0.0

    def read(self, document: Any, index: int, library: AbstractContextManager[Any]) -> list[Line]:
        """Return the lines of a page, in reading order; none where it has none, fails or comes too late.

        Args:
            document: The open `pypdfium2.PdfDocument`.
            index: Of the page, from 0.
            library: The lock of PDFium, held while the page is rendered and not while it is read.

        Raises `pypdfium2.PdfiumError` for a page that cannot be rendered.
        """
        if self._used_s + self._slowest_s >= self._limit_s:
            return []
        start = self._clock()
        try:
            with library:
                picture, scale, size = _render(document, index)
            return page_lines(self._recogniser.read(picture), scale, size)
        except RecognitionFailed:
            return []  # it stays among the pages without text, which the document names
        finally:
            took = self._clock() - start
            self._used_s += took
            self._slowest_s = max(self._slowest_s, took)


def render_scale(width: float, height: float) -> float:
    """Return how many pixels a point becomes on a page of these sizes in points."""
    most = math.sqrt(_MAX_PIXELS / max(width * height, 1.0))
    return min(_DOTS_PER_INCH / _POINTS_PER_INCH, most, _MAX_SIDE / max(width, height, 1.0))


def _render(document: Any, index: int) -> tuple[NDArray[np.uint8], float, tuple[float, float]]:
    """Return a page in grey, (height, width); its pixels per point; and its width and height in points."""
    with closing(document[index]) as page:
        width, height = page.get_size()
        scale = render_scale(width, height)
        with closing(page.render(scale=scale, grayscale=True)) as bitmap:
            pixels = np.array(bitmap.to_numpy(), dtype=np.uint8)  # a copy: the bitmap's memory goes with it
    return pixels.reshape(pixels.shape[0], pixels.shape[1]), scale, (width, height)
