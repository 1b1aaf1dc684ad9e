from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from ingest_worker.parse import pdf
from ingest_worker.parse.pdf import PdfParser
from rag_server.domain.document import BlockKind
from rag_server.errors import InvalidArgument
from tests import documents


def parts(data: bytes) -> list[tuple[BlockKind, int, int | None, str]]:
    parsed = PdfParser().parse(data)
    return [(b.kind, b.level, b.page, parsed.text[b.span.start : b.span.end]) for b in parsed.blocks]


def test_pdf_pages_headings_and_paragraphs_are_found() -> None:
    assert parts(documents.pdf()) == [
        (BlockKind.HEADING, 1, 1, "Keeping bees"),
        (
            BlockKind.PARAGRAPH,
            0,
            1,
            ("A hive holds one queen and up to sixty thousand workers in summer. " * 5).strip(),
        ),
        (BlockKind.HEADING, 2, 1, "The queen"),
        (
            BlockKind.PARAGRAPH,
            0,
            1,
            "The queen lays two thousand eggs a day. She lives for up to five years.",
        ),
        (BlockKind.HEADING, 2, 2, "The winter"),
        (BlockKind.PARAGRAPH, 0, 2, "La colmena necesita quince kilos de miel para pasar el invierno."),
    ]


@pytest.mark.parametrize(("title", "expected"), [("The title", "The title"), (None, "Keeping bees")])
def test_pdf_title_is_that_of_the_file_or_the_first_heading(title: str | None, expected: str) -> None:
    parsed = PdfParser().parse(documents.pdf(title=title))
    assert parsed.title == expected
    assert parsed.page_count == 2


def test_pdf_word_parted_at_a_line_end_is_joined() -> None:
    data = documents.pdf_of_lines([(100, 700, "a hyphen-"), (100, 688, "ated word"), (100, 650, "Next")])
    assert [text for *_, text in parts(data)] == ["a hyphenated word", "Next"]


def test_pdf_that_only_forbids_printing_is_read() -> None:
    assert parts(documents.pdf_restricted()) == [(BlockKind.PARAGRAPH, 0, 1, "Anyone may read this.")]


def test_pdf_encrypted_raises_document_encrypted() -> None:
    with pytest.raises(InvalidArgument) as caught:
        PdfParser().parse(documents.pdf_encrypted())
    assert caught.value.reason == "DOCUMENT_ENCRYPTED"


@pytest.mark.parametrize(
    "data",
    [
        *(documents.pdf_truncated(share) for share in (0.01, 0.3, 0.5, 0.9, 0.98)),
        documents.pdf().rstrip()[:-4],
        documents.pdf() + b"\n9 0 obj\n<< /Type /Catalog >>\n",
        documents.pdf().replace(b"%PDF-1.4\n", b"%PDF-1.4\n1 0 obj << /Linearized 1 /L 99999999 >> endobj\n"),
        documents.pdf_with_broken_page(),
        b"%PDF-1.7\n%%EOF",
    ],
)
def test_pdf_truncated_or_damaged_raises_document_corrupt(data: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        PdfParser().parse(data)
    assert caught.value.reason == "DOCUMENT_CORRUPT"


def test_pdf_without_text_layer_raises_has_no_text() -> None:
    with pytest.raises(InvalidArgument, match="2 pages") as caught:
        PdfParser().parse(documents.pdf_scanned(2))
    assert caught.value.reason == "DOCUMENT_HAS_NO_TEXT"


def test_pdf_blank_page_between_others_keeps_page_numbers() -> None:
    data = documents.pdf([[("BodyText", "one")], [("BodyText", "&nbsp;")], [("BodyText", "three")]])
    assert [(page, text) for _, _, page, text in parts(data)] == [(1, "one"), (3, "three")]


def test_pdf_parsed_by_many_threads_at_once_gives_the_same() -> None:
    data = documents.pdf()
    parser = PdfParser()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(parser.parse, [data] * 16))
    assert all(result == results[0] for result in results)


class _Page:
    """A text page that holds `text`."""

    def __init__(self, text: str) -> None:
        self.text = self.raw = text

    def count_chars(self) -> int:
        return len(self.text)


def test_pdf_line_of_controls_only_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf.pdfium, "FPDFText_GetUnicode", lambda raw, at: ord(raw[at]))
    monkeypatch.setattr(pdf, "_font_size", lambda page, at: 12.0)
    monkeypatch.setattr(pdf, "_origin", lambda page, at: (float(at), 0.0))
    lines = pdf._lines(_Page("one\r\n\x13\r\n \r\n two"))
    assert [(line.text, line.left) for line in lines] == [("one\r", 0.0), (" two", 12.0)]
