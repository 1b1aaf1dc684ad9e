from __future__ import annotations

import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_worker.parse import parse_document
from ingest_worker.parse.registry import PARSERS
from rag_server.domain.document import MediaType, ParsedDocument
from rag_server.errors import InvalidArgument
from tests.documents import HTML, MARKDOWN, pdf

UNTIMED = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
SLOW = settings(UNTIMED, max_examples=20)
PIECES = st.sampled_from(
    [
        *(
            "# A",
            "B\n==",
            "- i\n  - j",
            "1. x",
            "```\ncode\n",
            "    indented",
            "|a|b|\n|-|-|\n|1|2|",
            "> q",
            "***",
        ),
        *(
            "[r]: /u",
            "<div>",
            "</div>",
            "<p>p",
            "<h2>h</h2>",
            "<ul><li>l",
            "<table><tr><td>t",
            "<pre>v\n v</pre>",
        ),
        *(
            "word word.",
            "\x00",
            "\x0c",
            "\u00a0",
            "e\u0301",
            "---\ntitle: t\n---\n",
            "\t",
            " ",
            "\r\n",
            "\n\n",
        ),
        *("<br>", "<!-- c -->", "&amp;", "&#8;"),
    ]
)
SOURCES = st.one_of(st.text(), st.lists(st.one_of(PIECES, st.text(max_size=8))).map("".join))


def assert_well_formed(parsed: ParsedDocument) -> None:
    position = 0
    for block in parsed.blocks:
        assert position <= block.span.start < block.span.end <= len(parsed.text)
        assert not parsed.text[position : block.span.start].strip()
        said = parsed.text[block.span.start : block.span.end]
        assert said == said.strip()
        position = block.span.end
    assert not parsed.text[position:].strip()
    assert unicodedata.is_normalized("NFC", parsed.text)
    assert not any(unicodedata.category(c) in {"Cc", "Cs"} for c in parsed.text if c not in "\n\t")


@pytest.mark.parametrize("media_type", [MediaType.TEXT, MediaType.MARKDOWN, MediaType.HTML])
@UNTIMED
@given(source=SOURCES)
def test_parse_any_text_yields_ordered_blocks_that_cover_it(media_type: MediaType, source: str) -> None:
    try:
        parsed = parse_document(source.encode(errors="replace"), media_type)
    except InvalidArgument as error:
        assert error.reason in {"DOCUMENT_EMPTY", "DOCUMENT_HAS_NO_TEXT"}  # noqa: PT017 - most sources are fine
        return
    assert parsed.blocks
    assert_well_formed(parsed)


@SLOW
@given(words=st.lists(st.text("abcñé-. ", min_size=1, max_size=40), min_size=1, max_size=8))
def test_parse_any_pdf_yields_ordered_blocks_that_cover_it(words: list[str]) -> None:
    data = pdf([[("BodyText", text)] for text in [*words, "end"]])
    assert_well_formed(parse_document(data, MediaType.PDF))


@UNTIMED
@given(data=st.binary())
@pytest.mark.parametrize("media_type", list(MediaType))
def test_parse_any_bytes_never_raises_another_error(media_type: MediaType, data: bytes) -> None:
    try:
        assert_well_formed(parse_document(data, media_type))
    except InvalidArgument as error:
        assert error.reason.startswith("DOCUMENT_")  # noqa: PT017 - some bytes are text


@pytest.mark.parametrize("media_type", list(MediaType))
@pytest.mark.parametrize("data", [b"", b" \n\t\r\n"])
def test_parse_blank_document_raises_document_empty(media_type: MediaType, data: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_document(data, media_type)
    assert caught.value.reason == "DOCUMENT_EMPTY"


@pytest.mark.parametrize("media_type", [MediaType.TEXT, MediaType.MARKDOWN, MediaType.HTML])
def test_parse_document_of_controls_only_raises_has_no_text(media_type: MediaType) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_document(b"\x00\x01\x02", media_type)
    assert caught.value.reason == "DOCUMENT_HAS_NO_TEXT"


def test_parse_every_media_type_has_its_parser() -> None:
    assert set(PARSERS) == set(MediaType)
    samples = {MediaType.TEXT: b"x", MediaType.MARKDOWN: MARKDOWN.encode(), MediaType.HTML: HTML.encode()}
    for media_type, data in {**samples, MediaType.PDF: pdf()}.items():
        assert_well_formed(parse_document(data, media_type))


@pytest.mark.parametrize("media_type", [MediaType.TEXT, MediaType.MARKDOWN, MediaType.HTML])
@pytest.mark.parametrize(
    "text", ["\u200b\u200d \u2060", "\u200e\n\n\u202e", "\u3164\ufe0f\u2800", "\U000e0041"]
)
def test_parse_document_of_invisible_characters_only_raises_has_no_text(
    media_type: MediaType, text: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_document(text.encode(), media_type)
    assert caught.value.reason == "DOCUMENT_HAS_NO_TEXT"
    assert parse_document(f"{text}a".encode(), media_type).blocks
