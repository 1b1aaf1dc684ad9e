from __future__ import annotations

import dataclasses
import json
import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_worker.sandbox import codec
from ingest_worker.sandbox.codec import MalformedDocument, decode, encode
from rag_server.domain.document import Block, BlockKind, MediaType, ParsedDocument, Span
from rag_server.domain.page_boxes import TextPlaces

PARSED = ParsedDocument(
    text="Título 🐝\n\nOne queen.\n\nx = 1",
    blocks=(
        Block(BlockKind.HEADING, Span(0, 8), level=2, page=1),
        Block(BlockKind.PARAGRAPH, Span(10, 20), page=3),
        Block(BlockKind.CODE, Span(22, 27)),
    ),
    title="Título",
    language="es-ES",
    page_count=3,
    pages_without_text=(2, 3),
    places=TextPlaces(
        *(array("i", column) for column in ([0, 10], [8, 20], [1, 3], *[[1, 2]] * 2, *[[5, 6]] * 2))
    ),
)


def test_document_with_every_field_set_comes_back_the_same() -> None:
    assert decode(encode(MediaType.PDF, PARSED)) == (MediaType.PDF, PARSED)


def test_document_with_no_field_set_comes_back_the_same() -> None:
    parsed = ParsedDocument("", ())
    assert decode(encode(MediaType.TEXT, parsed)) == (MediaType.TEXT, parsed)


def test_codec_knows_every_field_of_a_document() -> None:
    # A field that is added has to be carried by the codec, and then listed here.
    assert {field.name for field in dataclasses.fields(ParsedDocument)} == {
        *("text", "blocks", "title", "language", "page_count", "pages_without_text", "places"),
        "records",  # by a frame and a codec of its own
    }
    assert {field.name for field in dataclasses.fields(Block)} == {"kind", "span", "level", "page"}


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])), st.sampled_from(MediaType))
def test_any_text_comes_back_the_same(text: str, media_type: MediaType) -> None:
    parsed = ParsedDocument(text, (Block(BlockKind.PARAGRAPH, Span(0, len(text))),))
    assert decode(encode(media_type, parsed)) == (media_type, parsed)


def altered(**changes: object) -> bytes:
    """Return the document above as bytes, with other small fields, text or numbers."""
    fields = {
        "media_type": "application/pdf",
        "title": "t",
        "language": "",
        "page_count": 3,
        "has_places": True,
    }
    text = changes.pop("text", b"0123456789")
    columns = [[0, 1], [0, 5], [5, 10], [1, 0], [1, 0], [2, 3]]
    columns += [[0, 5], [5, 10], [1, 3], [0, 1], [0, 1], [9999, 10000], [9999, 10000]]
    for index in range(len(columns)):
        columns[index] = changes.pop(f"column_{index}", columns[index])  # type: ignore[assignment]
    head = changes.pop("head", None) or json.dumps({**fields, **changes}).encode()
    assert isinstance(text, bytes)
    assert isinstance(head, bytes)
    return b"".join(
        [
            struct.pack(">IIIII", len(head), len(text), 2, 2, 2),
            head,
            text,
            *(array("i", one).tobytes() for one in columns),
        ]
    )


BROKEN = {
    "nothing": b"",
    "a cut end": altered()[:-1],
    "an added end": altered() + b"x",
    "lengths beyond the end": struct.pack(">IIIII", 10, *[1 << 31] * 4) + b"x",
    "more blocks than there may be": struct.pack(">IIIII", 0, 0, codec.MAX_BLOCKS + 1, 0, 0),
    "more pages than there may be": struct.pack(">IIIII", 0, 0, 0, codec.MAX_PAGES_WITHOUT_TEXT + 1, 0),
    "more places than there may be": struct.pack(">IIIII", 0, 0, 0, 0, codec.MAX_PLACES + 1),
    "places that were not asked for": altered(has_places=False),
    "lines that overlap": altered(column_6=[0, 4]),
    "lines that end where they start": altered(column_7=[0, 10]),
    "lines beyond the text": altered(column_7=[5, 11]),
    "a place on page zero": altered(column_8=[0, 3]),
    "a place on a page beyond the last": altered(column_8=[1, 4]),
    "a place that begins left of its page": altered(column_9=[-1, 1]),
    "a place that begins above its page": altered(column_10=[-1, 1]),
    "a place that ends right of its page": altered(column_11=[9, 10_001]),
    "a place without a height": altered(column_12=[9, 1]),
    "no JSON": altered(head=b"{"),
    "deep JSON": altered(head=b"[" * 60_000),
    "JSON that is no object": altered(head=b"[]"),
    "another media type": altered(media_type="image/png"),
    "a title that is no text": altered(title=5),
    "a title that is too long": altered(title="t" * 5000),
    "a language that is no text": altered(language=None),
    "a language with signs": altered(language="e\nn"),
    "pages that are no number": altered(page_count=True),
    "pages below zero": altered(page_count=-1),
    "text that is no UTF-8": altered(text=b"\xff" * 10),
    "text with NUL": altered(text=b"\0" * 10),
    "a kind that there is not": altered(column_0=[99, 0]),
    "a kind below zero": altered(column_0=[-1, 0]),
    "blocks that overlap": altered(column_1=[0, 4]),
    "blocks that end before they start": altered(column_2=[5, 4]),
    "blocks beyond the text": altered(column_2=[5, 11]),
    "a level that there is not": altered(column_3=[7, 0]),
    "a page below zero": altered(column_4=[-1, 0]),
    "a page without text below one": altered(column_5=[0, 1]),
    "pages without text out of order": altered(column_5=[3, 2]),
    "a page without text twice": altered(column_5=[2, 2]),
    "a page without text beyond the last": altered(column_5=[2, 4]),
    "pages without text of a document without pages": altered(page_count=None),
}


def test_unaltered_document_is_read() -> None:
    assert len(decode(altered())[1].blocks) == 2


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_document_is_refused(kind: str) -> None:
    with pytest.raises(MalformedDocument):
        decode(BROKEN[kind])


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(payload: bytes) -> None:
    with pytest.raises(MalformedDocument):
        decode(payload)


def test_lone_surrogates_are_replaced_in_place() -> None:
    parsed = ParsedDocument("a\ud800b", (Block(BlockKind.PARAGRAPH, Span(0, 3)),))
    assert decode(encode(MediaType.TEXT, parsed))[1].text == "a?b"


def test_pages_without_text_beyond_those_that_are_named_are_left_out() -> None:
    named = codec.MAX_PAGES_WITHOUT_TEXT
    parsed = ParsedDocument("", (), page_count=named + 5, pages_without_text=tuple(range(1, named + 6)))
    assert decode(encode(MediaType.PDF, parsed))[1].pages_without_text == tuple(range(1, named + 1))


def test_a_document_of_too_many_blocks_or_lines_is_not_encodable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert codec.is_encodable(PARSED)
    monkeypatch.setattr(codec, "MAX_PLACES", 1)
    assert not codec.is_encodable(PARSED)
    assert codec.is_encodable(dataclasses.replace(PARSED, places=None))
    monkeypatch.setattr(codec, "MAX_BLOCKS", 2)
    assert not codec.is_encodable(dataclasses.replace(PARSED, places=None))


def test_two_boxes_of_one_line_come_back() -> None:
    places = TextPlaces()
    for left in (1, 50):
        places.add(0, 3, 1, (left, 1, left + 1, 2))
    parsed = ParsedDocument("abc", (), page_count=1, places=places)
    assert decode(encode(MediaType.PDF, parsed))[1].places == places
