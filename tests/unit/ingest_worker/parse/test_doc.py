from __future__ import annotations

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_worker.parse import doc, limits, parse_document
from rag_server.domain.document import MediaType
from rag_server.errors import InvalidArgument, ResourceExhausted
from tests.documents_compound import IN_TABLE, ROW, Said, cell, compound_file_of, word, word_streams
from tests.unit.ingest_worker.parse.block_texts import parts_of

SAMPLE = (
    Said("The hive\r", 1),
    Said("One queen lays all eggs.\r"),
    *(cell("month"), cell("kilos"), ROW),
    *(cell("May"), cell("12"), ROW),
    Said("La reina vive cinco años.\r"),
)


def said(data: bytes) -> list[tuple[str, int, str]]:
    return parts_of(parse_document(data, MediaType.DOC))


def refusal(data: bytes) -> InvalidArgument | ResourceExhausted:
    with pytest.raises((InvalidArgument, ResourceExhausted)) as caught:
        parse_document(data, MediaType.DOC)
    assert isinstance(caught.value, InvalidArgument | ResourceExhausted)
    return caught.value


def changed(stream: str, place: int, value: bytes) -> bytes:
    """Return the sample with some bytes of a stream replaced."""
    streams = word_streams(SAMPLE)
    content = bytearray(streams[stream])
    content[place : place + len(value)] = value
    return compound_file_of({**streams, stream: bytes(content)})


@pytest.mark.parametrize("wide", [False, True])
def test_doc_headings_paragraphs_and_tables_are_read_in_order(wide: bool) -> None:
    assert said(word(*SAMPLE, wide=wide)) == [
        ("heading", 1, "The hive"),
        ("paragraph", 0, "One queen lays all eggs."),
        ("table", 0, "| month | kilos |\n| --- | --- |\n| May | 12 |"),
        ("paragraph", 0, "La reina vive cinco años."),
    ]
    assert parse_document(word(*SAMPLE), MediaType.DOC).title == "The hive"


def test_doc_table_in_the_other_stream_is_read() -> None:
    assert said(word("text", flags=0)) == [("paragraph", 0, "text")]


def test_doc_of_many_paragraphs_finds_the_style_of_each() -> None:
    found = said(word(*(Said(f"line {number}\r", number % 10) for number in range(40))))
    assert [level for _, level, _ in found] == [min(number % 10, 6) for number in range(40)]
    assert [text for *_, text in found] == [f"line {number}" for number in range(40)]


@pytest.mark.parametrize("wide", [False, True])
def test_doc_paragraph_over_several_pieces_is_one(wide: bool) -> None:
    assert said(word(Said("one "), Said("two €“ "), Said("three\r"), wide=wide)) == [
        ("paragraph", 0, "one two €“ three")
    ]


def test_doc_characters_outside_the_basic_plane_keep_the_places_of_what_follows() -> None:
    assert said(word("🐝🐝🐝 bees", Said("Head\r", 2), "end", wide=True)) == [
        ("paragraph", 0, "🐝🐝🐝 bees"),
        ("heading", 2, "Head"),
        ("paragraph", 0, "end"),
    ]


def test_doc_of_fields_the_result_is_kept() -> None:
    text = 'see \x13 HYPERLINK "e.org" \x14the \x13 PAGE \x14page\x15 here\x15, \x13 TC x \x15and\x15 more'
    assert said(word(text)) == [("paragraph", 0, "see the page here, and more")]


def test_doc_field_over_paragraphs_hides_its_instruction_only() -> None:
    assert said(word("\x13 TOC \\o", "more \x14Contents", "One 1\x15", "after")) == [
        ("paragraph", 0, "Contents"),
        ("paragraph", 0, "One 1"),
        ("paragraph", 0, "after"),
    ]


def test_doc_special_characters_read_as_they_show() -> None:
    assert said(word("a\x0bb\x1ec\x1fd\x01\x02\x08 e\x0cnext page")) == [
        ("paragraph", 0, "a\nb-cd e"),
        ("paragraph", 0, "next page"),
    ]


def test_doc_paragraphs_within_a_cell_are_one_cell() -> None:
    data = word(cell("k"), cell("v"), ROW, Said("one\r", properties=IN_TABLE), cell("two"), cell(""), ROW)
    assert said(data) == [("table", 0, "| k | v |\n| --- | --- |\n| one two |")]


def test_doc_row_without_its_end_is_kept() -> None:
    assert said(word(cell("k"), cell("v"), ROW, cell("a"), Said("b\r", properties=IN_TABLE))) == [
        ("table", 0, "| k | v |\n| --- | --- |\n| a | b |")
    ]


def test_doc_footnotes_follow_the_text() -> None:
    assert said(word("text\x02", notes="\x02 A note.\r")) == [
        ("paragraph", 0, "text"),
        ("paragraph", 0, "A note."),
    ]


def test_doc_without_text_raises_document_has_no_text() -> None:
    assert refusal(word("\x01", "  ")).reason == "DOCUMENT_HAS_NO_TEXT"


def test_doc_with_a_password_raises_document_encrypted() -> None:
    assert refusal(word("text", flags=0x0300)).reason == "DOCUMENT_ENCRYPTED"


@pytest.mark.parametrize(("identity", "version"), [(0xA5DC, 104), (0xA5DB, 45), (0xA5EC, 0x68)])
def test_doc_older_than_word_97_is_unsupported_and_says_what_to_do(identity: int, version: int) -> None:
    error = refusal(word("text", identity=identity, version=version))
    assert error.reason == "UNSUPPORTED_MEDIA_TYPE"
    assert "save it as DOCX" in error.message


FAR = struct.pack("<I", 0x3FFF_FFF0)
TABLE = word_streams(SAMPLE)["1Table"]
PLACES = TABLE.index(b"\x02", TABLE.index(b"\x01\x02\x00ab") + 5) + 5
"""Where the characters of the pieces are told."""
PIECE_COUNT = len(SAMPLE)
DAMAGES = {
    "identity": ("WordDocument", 0, b"\x12\x34"),
    "negative count": ("WordDocument", 0x4C, struct.pack("<i", -1)),
    "more text than pieces": ("WordDocument", 0x4C, struct.pack("<i", 100_000)),
    "pieces outside": ("WordDocument", 0x1A2, FAR),
    "no pieces": ("WordDocument", 0x1A6, bytes(4)),
    "properties outside": ("WordDocument", 0x106, FAR),
    "page outside": ("1Table", 12, FAR),
    "kind of piece table": ("1Table", TABLE.index(b"\x01\x02\x00ab"), b"\x07"),
    "size of piece table": ("1Table", PLACES - 4, FAR),
    "pieces backwards": ("1Table", PLACES + 4, FAR),
    "piece outside": ("1Table", PLACES + 4 * (PIECE_COUNT + 1) + 2, FAR),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_doc_damaged_raises_document_corrupt(damage: str) -> None:
    assert refusal(changed(*DAMAGES[damage])).reason == "DOCUMENT_CORRUPT"


@pytest.mark.parametrize("name", ["WordDocument", "1Table"])
def test_doc_without_one_of_its_streams_raises_document_corrupt(name: str) -> None:
    streams = word_streams(SAMPLE)
    del streams[name]
    assert refusal(compound_file_of({**streams, "Other": b"x"})).reason == "DOCUMENT_CORRUPT"


def test_doc_with_fields_nested_without_end_raises_document_corrupt() -> None:
    assert refusal(word("\x13" * 101)).reason == "DOCUMENT_CORRUPT"


def test_doc_too_much_text_raises_document_too_large_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert refusal(changed("WordDocument", 0x4C, struct.pack("<i", 2**31 - 1))).reason == "DOCUMENT_TOO_LARGE"
    monkeypatch.setattr(limits, "MAX_CHARACTERS", 10)
    assert refusal(word("more than ten characters")).reason == "DOCUMENT_TOO_LARGE"


def test_doc_of_too_many_paragraphs_raises_document_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doc, "_MAX_PARAGRAPHS", 4)
    assert refusal(word(*"abcde")).reason == "DOCUMENT_TOO_LARGE"


WORD = word_streams(SAMPLE)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(
    in_word=st.lists(
        st.tuples(st.integers(0, len(WORD["WordDocument"]) - 1), st.integers(0, 255)), max_size=6
    ),
    in_table=st.lists(st.tuples(st.integers(0, len(WORD["1Table"]) - 1), st.integers(0, 255)), max_size=6),
)
def test_doc_mutated_structures_never_raise_another_error(
    in_word: list[tuple[int, int]], in_table: list[tuple[int, int]]
) -> None:
    content, table = bytearray(WORD["WordDocument"]), bytearray(WORD["1Table"])
    for target, changes in ((content, in_word), (table, in_table)):
        for place, value in changes:
            target[place] = value
    try:
        assert said(compound_file_of({"WordDocument": bytes(content), "1Table": bytes(table)}))
    except (InvalidArgument, ResourceExhausted) as error:
        assert error.reason.startswith(("DOCUMENT_", "UNSUPPORTED_"))  # noqa: PT017 - most changes do no harm
