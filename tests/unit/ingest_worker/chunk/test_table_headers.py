from __future__ import annotations

import pytest

from ingest_worker.chunk import chunk_document
from ingest_worker.chunk.table_headers import TableHeaders
from ingest_worker.parse import parse_document
from rag_server.domain.collection import CharacterChunking, Chunking, TokenChunking
from rag_server.domain.document import MediaType, ParsedDocument
from tests.tokenizing import MODEL, WordTokenizer

HEADER = "| name | weight |\n| --- | --- |\n"
ROWS = [f"| part {number} | {number} kg |" for number in range(200)]
SOURCE = "Before the table.\n\n" + HEADER + "\n".join(ROWS) + "\n\nAfter the table, some words.\n"


def parsed(source: str = SOURCE) -> ParsedDocument:
    return parse_document(source.encode(), MediaType.MARKDOWN)


def test_at_a_row_returns_the_header_and_elsewhere_nothing() -> None:
    document = parsed()
    headers = TableHeaders(document, len, 1000)
    text = document.text
    for row in ("| part 0 ", "0 kg |\n", ROWS[-1]):
        assert headers.at(text.index(row)) == HEADER
        assert headers.weight_at(text.index(row)) == len(HEADER)
        assert headers.is_row(text.index(row))
    for outside in ("Before", "| name", "| ---", "After"):
        assert not headers.at(text.index(outside))
        assert not headers.weight_at(text.index(outside))
        assert not headers.is_row(text.index(outside))


def test_at_header_over_half_a_chunk_is_not_repeated() -> None:
    document = parsed()
    row = document.text.index(ROWS[3])
    assert TableHeaders(document, len, 2 * len(HEADER)).at(row) == HEADER
    narrow = TableHeaders(document, len, 2 * len(HEADER) - 1)
    assert not narrow.at(row)
    assert narrow.is_row(row)


def test_at_table_without_rows_or_without_delimiter_has_no_header() -> None:
    document = parsed("| a | b |\n| - | - |\n\ntext\n")
    headers = TableHeaders(document, len, 1000)
    assert not any(map(headers.is_row, range(len(document.text))))


@pytest.mark.parametrize("chunking", [TokenChunking(80, 0.2), CharacterChunking(300, 60)])
def test_chunks_of_a_long_table_each_repeat_its_header_and_hold_whole_rows(chunking: Chunking) -> None:
    document = parsed()
    drafts = chunk_document(document, chunking, WordTokenizer(), MODEL)
    inner = drafts[1:-1]
    assert len(inner) > 5
    for draft in inner:
        assert draft.prefix == HEADER
        assert draft.text.startswith(HEADER + "| part ")
        assert set(draft.text.removeprefix(HEADER).split("\n")[:-1]) <= set(ROWS)
        assert draft.text.rstrip().endswith(("kg |", "words."))
    rows = [line for draft in drafts for line in draft.text.split("\n") if line.startswith("| part")]
    assert rows == ROWS, "each row is in exactly one chunk"


def test_is_parted_at_spares_only_the_ends_of_rows() -> None:
    document = parsed()
    headers, text = TableHeaders(document, len, 1000), document.text
    whole = {position for position in range(len(text)) if not headers.is_parted_at(position)}
    start, end = text.index(HEADER), text.index(ROWS[-1]) + len(ROWS[-1])
    row_ends = {position for position in range(start + len(HEADER), end) if text[position] == "\n"}
    assert whole == {*range(start), *row_ends, *range(end, len(text))}


@pytest.mark.parametrize("before", range(0, 300, 7))
@pytest.mark.parametrize("chunking", [TokenChunking(60, 0.0), CharacterChunking(300, 0)])
def test_chunks_around_a_table_part_neither_its_header_nor_a_row(chunking: Chunking, before: int) -> None:
    source = "Some words. " * (before // 12) + "x" * (before % 12)
    document = parsed(source + "\n\n" + HEADER + "\n".join(ROWS[:20]) + "\n\n" + "And what follows. " * 9)
    drafts = chunk_document(document, chunking, WordTokenizer(), MODEL)
    for draft in drafts:
        assert not TableHeaders(document, len, 1000).is_parted_at(draft.span.end), draft.text[-40:]
    rows = [line for draft in drafts for line in draft.text.split("\n") if line.startswith("| part")]
    assert rows == ROWS[:20]


@pytest.mark.parametrize(
    ("chunking", "is_table"),
    [(TokenChunking(80, 0.2), True), (CharacterChunking(300, 60), True), (CharacterChunking(300, 60), False)],
)
def test_chunks_after_an_edit_near_the_start_are_soon_the_same(chunking: Chunking, is_table: bool) -> None:
    def texts(lines: list[str]) -> list[str]:
        source = HEADER + "\n".join(lines) if is_table else " ".join(f"It says {line}." for line in lines)
        return [draft.text for draft in chunk_document(parsed(source), chunking, WordTokenizer(), MODEL)]

    before = texts(ROWS)
    after = texts([*ROWS[:3], "| part new | 7 kg |", *ROWS[3:]])
    assert len(before) > 10
    assert len(set(after) - set(before)) < len(before) // 2
    assert after[-1] == before[-1]


@pytest.mark.parametrize("chunking", [TokenChunking(40, 0.2), CharacterChunking(160, 20)])
def test_chunks_of_a_row_longer_than_a_chunk_stay_within_their_bound(chunking: Chunking) -> None:
    document = parsed("| a | b |\n| - | - |\n| " + "long words. " * 100 + "| x |\n| y | z |\n")
    drafts = chunk_document(document, chunking, WordTokenizer(), MODEL)
    assert len(drafts) > 5
    for draft in drafts[1:]:
        assert draft.text.startswith("| a | b |\n| - | - |\n")
    for draft in drafts:
        if isinstance(chunking, TokenChunking):
            assert WordTokenizer().count(draft.text) == draft.token_count <= 40
        else:
            assert len(draft.text) <= 160


@pytest.mark.parametrize("chunking", [TokenChunking(60, 0.5), CharacterChunking(200, 100)])
def test_chunks_after_a_table_do_not_repeat_its_rows(chunking: Chunking) -> None:
    document = parsed(SOURCE + "\n" + "More prose follows here. " * 60)
    drafts = chunk_document(document, chunking, WordTokenizer(), MODEL)
    for draft in drafts[-3:]:
        assert not draft.prefix
        assert "part" not in draft.text
