"""Documents made up for the benchmark of ingest: Markdown and PDF, each different, always the same."""

from __future__ import annotations

import io

from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from benchmarks.synthetic import Texts

_LINE_WORDS = 14
_LINES_OF_PAGE = 44
_TOP, _LEFT, _LINE_HEIGHT = 800, 50, 16
_SECTIONS = 6
_PARAGRAPHS = 4


class Documents:
    """Makes documents from one seed."""

    def __init__(self, seed: int) -> None:
        self._texts = Texts(seed)

    def sentences(self, count: int) -> list[str]:
        """Return sentences about one topic, of about 25 words each."""
        topic = self._texts.topic()
        words = " ".join(self._texts.passage(topic) for _ in range(count // 4 + 1)).split()
        return [" ".join(words[25 * i : 25 * (i + 1)]).capitalize() + "." for i in range(count)]

    def markdown(self) -> bytes:
        """Return a document of some thirty chunks."""
        lines = ["# Handbook"]
        for section in range(_SECTIONS):
            lines += ["", f"## Part {section + 1}"]
            for _ in range(_PARAGRAPHS):
                lines += ["", " ".join(self.sentences(8))]
        return "\n".join(lines).encode()

    def pdf(self, page_count: int) -> bytes:
        """Return a document of `page_count` full pages."""
        written = io.BytesIO()
        canvas = Canvas(written, pagesize=A4, invariant=True)
        words = " ".join(self.sentences(_LINES_OF_PAGE)).split()
        for page in range(page_count):
            text = canvas.beginText(_LEFT, _TOP)
            text.setLeading(_LINE_HEIGHT)
            text.textLine(f"Page {page + 1} of the handbook")
            for line in range(_LINES_OF_PAGE):
                start = (page * 7 + line * _LINE_WORDS) % (len(words) - _LINE_WORDS)
                text.textLine(" ".join(words[start : start + _LINE_WORDS]))
            canvas.drawText(text)
            canvas.showPage()
        canvas.save()
        return written.getvalue()
