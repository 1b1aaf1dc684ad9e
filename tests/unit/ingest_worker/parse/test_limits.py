from __future__ import annotations

import pytest

from ingest_worker.parse import limits, parse_document
from ingest_worker.parse.html import HtmlParser
from ingest_worker.parse.markdown import MarkdownParser
from ingest_worker.parse.pdf import PdfParser
from ingest_worker.parse.protocol import Parser
from ingest_worker.parse.text import TextParser
from rag_server.domain.document import MediaType
from rag_server.errors import ResourceExhausted
from tests.documents import pdf

LIMIT = 100


@pytest.fixture(autouse=True)
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CHARACTERS", LIMIT)


@pytest.mark.parametrize("parser", [TextParser(), MarkdownParser(), HtmlParser()])
@pytest.mark.parametrize("data", [b"a" * (LIMIT + 1), ("é" * (LIMIT + 1)).encode(), b"a" * 5 * LIMIT])
def test_limits_longer_text_raises_document_too_large(parser: Parser, data: bytes) -> None:
    with pytest.raises(ResourceExhausted) as caught:
        parser.parse(data)
    assert caught.value.reason == "DOCUMENT_TOO_LARGE"
    assert caught.value.metadata == {"limit_characters": str(LIMIT)}
    assert not caught.value.is_retryable


def test_limits_text_that_is_too_long_in_every_encoding_is_not_even_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("ingest_worker.parse.decoding._decode")
    with pytest.raises(ResourceExhausted):
        TextParser().parse(b"a" * (4 * LIMIT + 5))


@pytest.mark.parametrize("text", ["a" * LIMIT, "é" * LIMIT, "🦜" * LIMIT])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_limits_text_of_exactly_the_limit_is_read(text: str, encoding: str) -> None:
    assert parse_document(text.encode(encoding), MediaType.TEXT).text == text


def test_limits_pdf_stops_at_the_page_that_passes_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pdf([[("BodyText", "word " * 12)]] * 4)
    read: list[int] = []
    extract = PdfParser.parse.__globals__["_lines"]

    def counting(*pages: object) -> object:
        read.append(1)
        return extract(*pages)

    monkeypatch.setattr("ingest_worker.parse.pdf._lines", counting)
    with pytest.raises(ResourceExhausted) as caught:
        PdfParser().parse(data)
    assert caught.value.reason == "DOCUMENT_TOO_LARGE"
    assert len(read) == 1
