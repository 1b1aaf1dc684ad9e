from __future__ import annotations

from ingest_worker.chunk.chunk_boxes import boxes_of
from ingest_worker.chunk.registry import chunk_document
from rag_server.domain.collection import CharacterChunking, TokenChunking
from rag_server.domain.document import Block, BlockKind, ParsedDocument, Span
from rag_server.domain.page_boxes import MAX_CHUNK_BOXES, PageBox, TextPlaces
from rag_server.testing.fakes import HashEmbedder


def line(places: TextPlaces, start: int, page: int, top: int, *, left: int = 100) -> None:
    places.add(start, start + 10, page, (left, top, left + 3000, top + 100))


def test_lines_of_a_block_share_a_box_and_blocks_have_their_own() -> None:
    places = TextPlaces()
    for start, top in ((0, 1000), (10, 1150), (22, 1300)):  # a blank line before the third
        line(places, start, 1, top)
    assert boxes_of(places, Span(0, 32)) == (
        PageBox(1, 100, 1000, 3100, 1250),
        PageBox(1, 100, 1300, 3100, 1400),
    )


def test_only_lines_that_the_passage_touches_count_and_they_count_whole() -> None:
    places = TextPlaces()
    for start, top in ((0, 1000), (10, 1150), (20, 1300)):
        line(places, start, 1, top)
    assert boxes_of(places, Span(12, 15)) == (PageBox(1, 100, 1150, 3100, 1250),)
    assert boxes_of(places, Span(30, 40)) == ()


def test_each_page_has_a_box_of_its_own() -> None:
    places = TextPlaces()
    line(places, 0, 1, 1000)
    line(places, 10, 2, 1000)
    assert [box.page for box in boxes_of(places, Span(0, 20))] == [1, 2]


def test_too_many_boxes_become_one_for_each_page() -> None:
    places = TextPlaces()
    for number in range(MAX_CHUNK_BOXES + 1):
        line(places, 12 * number, 1 + number // 20, 400 * (number % 20), left=100 * (number % 20))
    assert boxes_of(places, Span(0, 10_000)) == (
        PageBox(1, 0, 0, 4900, 7700),
        PageBox(2, 0, 0, 4200, 4900),
    )


def test_too_many_pages_keep_the_first_ones() -> None:
    places = TextPlaces()
    for number in range(MAX_CHUNK_BOXES + 5):
        line(places, 12 * number, 1 + number, 100)
    assert [box.page for box in boxes_of(places, Span(0, 10_000))] == [*range(1, MAX_CHUNK_BOXES + 1)]


def test_every_strategy_gives_its_chunks_their_boxes() -> None:
    places = TextPlaces()
    blocks = []
    text = "\n\n".join(["herons " * 20] * 10)
    for number in range(10):
        start = number * 142
        blocks.append(Block(BlockKind.PARAGRAPH, Span(start, start + 140), page=number + 1))
        places.add(start, start + 140, number + 1, (10, 20, 30, 40))
    parsed = ParsedDocument(text, tuple(blocks), page_count=10, places=places)
    embedder = HashEmbedder()
    for chunking in (TokenChunking(max_tokens=30), CharacterChunking(200, 50)):
        drafts = chunk_document(parsed, chunking, embedder.tokenizer, embedder.model)
        assert {box.page for draft in drafts for box in draft.boxes} == set(range(1, 11))
        for draft in drafts:
            pages = [box.page for box in draft.boxes]
            assert (pages[0], pages[-1]) == (draft.page_start, draft.page_end)
    without = ParsedDocument(text, tuple(blocks), page_count=10)
    drafts = chunk_document(without, TokenChunking(), embedder.tokenizer, embedder.model)
    assert all(draft.boxes == () for draft in drafts)
