from __future__ import annotations

from itertools import pairwise

from ingest_worker.chunk.by_characters import chunk_by_characters
from ingest_worker.parse import parse_document
from rag_server.domain.collection import CharacterChunking
from rag_server.domain.document import ChunkDraft, MediaType
from tests.tokenizing import WordTokenizer


def chunks(source: str, most: int, overlap: int) -> list[ChunkDraft]:
    parsed = parse_document(source.encode(), MediaType.MARKDOWN)
    return chunk_by_characters(parsed, CharacterChunking(most, overlap), WordTokenizer())


def test_character_chunks_are_cut_between_words() -> None:
    source = " ".join(f"word{number:03}" for number in range(100))
    found = chunks(source, 100, 20)
    assert all(draft.text[:4] == "word" and draft.text[-3:].isdigit() for draft in found)
    assert all(75 <= len(draft.text) <= 100 for draft in found[:-1])
    for before, after in pairwise(found):
        assert 8 <= before.span.end - after.span.start <= 20


def test_character_chunks_without_overlap_share_nothing() -> None:
    found = chunks("one two three four five six seven", 10, 0)
    assert [draft.text for draft in found] == ["one two", "three four", "five six", "seven"]


def test_character_chunks_long_word_is_cut() -> None:
    found = chunks("a" * 250, 100, 20)
    assert [(draft.span.start, draft.span.end) for draft in found] == [(0, 100), (80, 180), (160, 250)]


def test_character_chunks_short_text_is_one_chunk() -> None:
    (draft,) = chunks("just this", 2000, 400)
    assert (draft.text, draft.token_count) == ("just this", 2)


def test_character_chunks_have_the_heading_path_of_their_start() -> None:
    found = chunks("intro\n\n# One\n\n" + "aaaa " * 10 + "\n\n## Two\n\n" + "bbbb " * 10, 40, 0)
    assert [draft.heading_path for draft in found] == [(), ("One",), ("One", "Two"), ("One", "Two")]
