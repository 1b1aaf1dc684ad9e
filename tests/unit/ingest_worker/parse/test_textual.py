"""What holds for every parser of marked-up text, data, mail and books."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_worker.parse import limits, parse_document
from ingest_worker.parse.registry import PARSERS
from ingest_worker.parse.textual import TEXTUAL_PARSERS
from rag_server.domain.document import MediaType, ParsedDocument
from rag_server.errors import InvalidArgument, ResourceExhausted
from tests import documents_textual as documents

UNTIMED = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
SAMPLES = {
    MediaType.EPUB: documents.epub(),
    MediaType.EML: documents.EML,
    MediaType.JSON: documents.JSON,
    MediaType.JSONL: documents.JSONL,
    MediaType.XML: documents.DOCBOOK,
    MediaType.RST: documents.RST,
    MediaType.ORG: documents.ORG,
    MediaType.IPYNB: documents.NOTEBOOK,
}
PLAIN = [MediaType.RST, MediaType.ORG, MediaType.JSONL, MediaType.JSON, MediaType.XML, MediaType.EML]
EXPECTED = {"DOCUMENT_EMPTY", "DOCUMENT_HAS_NO_TEXT", "DOCUMENT_CORRUPT", "DOCUMENT_ENCRYPTED"}
PIECES = st.sampled_from(
    [
        *(
            "* A",
            "** TODO B :t:",
            "#+begin_src",
            "#+end_src",
            "#+TITLE: t",
            ":DRAWER:",
            ":END:",
            "- i",
            "  - j",
        ),
        *(
            "| a | b |",
            "|---+---|",
            ": fixed",
            "# c",
            "[[l][d]]",
            "T\n===",
            "S\n---",
            ".. note:: n",
            "   body",
        ),
        *(
            "..",
            ".. x::",
            "   :o: v",
            "::",
            "    code",
            "`a`",
            "*b*",
            "``c``",
            ":r:`d`",
            "+--+",
            "=== ===",
            "> q",
        ),
        *("<a>", "</a>", "<p>", "</p>", "<title>t</title>", "&amp;", "&x;", "<![CDATA[c]]>", "<list><item>"),
        *('{"a":', "[", "]", "}", '"s"', "1", ",", "null", "NaN", '{"name": "n", "x": [1, {"y": "z"}]}'),
        *("From: a@b", "Subject: s", "Content-Type: text/html", "Content-Type: multipart/mixed; boundary=b"),
        *("--b", "--b--", "Content-Transfer-Encoding: base64", "=?utf-8?q?x?="),
        *(
            "word word.",
            "\x00",
            "\x0c",
            "\u00a0",
            "e\u0301",
            "\t",
            " ",
            "\r\n",
            "\n\n",
            "\n",
            "\ud800",
            "\u2028",
        ),
    ]
)
SOURCES = st.lists(st.one_of(PIECES, PIECES.map(lambda piece: f"\n{piece}"), st.text(max_size=8))).map(
    "".join
)


def assert_well_formed(parsed: ParsedDocument) -> None:
    position = 0
    for block in parsed.blocks:
        assert position <= block.span.start < block.span.end <= len(parsed.text)
        assert not parsed.text[position : block.span.start].strip()
        said = parsed.text[block.span.start : block.span.end]
        assert said == said.strip()
        assert (block.kind == "heading") == (1 <= block.level <= 6)
        position = block.span.end
    assert not parsed.text[position:].strip()
    assert unicodedata.is_normalized("NFC", parsed.text)
    assert not any(
        unicodedata.category(c) in {"Cc", "Cs"} for c in parsed.text + parsed.title if c not in "\n\t"
    )


def assert_parses_or_says_why(data: bytes, media_type: MediaType) -> None:
    try:
        assert_well_formed(parse_document(data, media_type))
    except InvalidArgument as error:
        assert error.reason in EXPECTED  # noqa: PT017 - many sources are fine


def test_textual_parsers_are_registered_and_sampled() -> None:
    assert {media_type for parser in TEXTUAL_PARSERS for media_type in parser.media_types} == set(SAMPLES)
    assert all(PARSERS[media_type] in TEXTUAL_PARSERS for media_type in SAMPLES)


@pytest.mark.parametrize("media_type", SAMPLES)
def test_textual_sample_has_blocks_that_cover_it(media_type: MediaType) -> None:
    assert_well_formed(parse_document(SAMPLES[media_type], media_type))


@pytest.mark.parametrize("media_type", PLAIN)
@UNTIMED
@given(source=SOURCES)
def test_textual_any_text_parses_or_says_why(media_type: MediaType, source: str) -> None:
    assert_parses_or_says_why(source.encode(errors="surrogatepass"), media_type)


@pytest.mark.parametrize("media_type", SAMPLES)
@UNTIMED
@given(data=st.data())
def test_textual_damaged_sample_parses_or_says_why(media_type: MediaType, data: st.DataObject) -> None:
    sample = SAMPLES[media_type]
    start = data.draw(st.integers(0, len(sample)))
    end = data.draw(st.integers(start, min(start + 40, len(sample))))
    assert_parses_or_says_why(sample[:start] + data.draw(st.binary(max_size=8)) + sample[end:], media_type)


@pytest.mark.parametrize("media_type", SAMPLES)
@UNTIMED
@given(data=st.binary())
def test_textual_any_bytes_parse_or_say_why(media_type: MediaType, data: bytes) -> None:
    assert_parses_or_says_why(data, media_type)


@pytest.mark.parametrize("media_type", SAMPLES)
@pytest.mark.parametrize("data", [b"", b" \n\t\r\n"])
def test_textual_blank_document_raises_document_empty(media_type: MediaType, data: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_document(data, media_type)
    assert caught.value.reason == "DOCUMENT_EMPTY"


@pytest.mark.parametrize("media_type", SAMPLES)
def test_textual_more_text_than_allowed_raises_document_too_large(
    media_type: MediaType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_CHARACTERS", 20)
    with pytest.raises(ResourceExhausted) as caught:
        parse_document(SAMPLES[media_type], media_type)
    assert caught.value.reason == "DOCUMENT_TOO_LARGE"


@pytest.mark.parametrize(
    ("media_type", "hostile"),
    [
        (MediaType.XML, b"<a>" + b"<p>x</p>" * 15_000 + b"</a>"),
        (MediaType.XML, b"<a>" + b"<b>" * 200 + b"x" * 1_000_000 + b"</b>" * 200 + b"</a>"),
        (MediaType.XML, b"<a>" + b"&eacute;" * 30_000 + b"</a>"),
        (MediaType.JSON, b"[" + b'{"a":{"b":[{"c":1}]}},' * 10_000 + b"1]"),
        (MediaType.JSON, b"[" * 90 + b"1," * 100_000 + b"1" + b"]" * 90),
        (MediaType.RST, b".. x::\n\n" + b"   y\n\n" * 5_000),
        (MediaType.RST, b"A\n=\n\n" * 2_000),
        (MediaType.RST, b"- a\n\n" * 5_000),
        (MediaType.EML, b"From: a\n\n" + b"> \n" * 300_000),
        (MediaType.EML, b"From: a\nContent-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n\n" * 9_000),
    ],
)
def test_textual_hostile_document_takes_no_long_time(media_type: MediaType, hostile: bytes) -> None:
    started = time.process_time()
    assert_parses_or_says_why(hostile, media_type)
    assert time.process_time() - started < 20
