from __future__ import annotations

from itertools import pairwise

import pytest

from ingest_worker.chunk.by_tokens import chunk_by_tokens
from ingest_worker.parse import parse_document
from rag_server.domain.collection import TokenChunking
from rag_server.domain.document import ChunkDraft, MediaType
from rag_server.errors import InvalidArgument
from tests.documents import pdf
from tests.tokenizing import CharacterTokenizer, WordTokenizer

WINDOW = 254


def chunks(source: str, max_tokens: int, overlap: float = 0.0, window: int = WINDOW) -> list[ChunkDraft]:
    parsed = parse_document(source.encode(), MediaType.MARKDOWN)
    return chunk_by_tokens(parsed, TokenChunking(max_tokens, overlap), WordTokenizer(), window)


def words(count: int, name: str) -> str:
    return " ".join(f"{name}{number}" for number in range(count))


def test_token_chunks_pack_whole_paragraphs() -> None:
    found = chunks("\n\n".join(words(8, name) for name in "abcde"), 20)
    assert [draft.token_count for draft in found] == [16, 16, 8]
    assert found[0].text == words(8, "a") + "\n\n" + words(8, "b")


def test_token_chunks_do_not_cross_sections() -> None:
    found = chunks(f"# T\n\n{words(12, 'a')}\n\n## S\n\n{words(12, 'b')}\n\n## R\n\n{words(12, 'c')}", 30)
    assert [draft.heading_path for draft in found] == [("T",), ("T", "S"), ("T", "R")]
    assert found[1].text.startswith("## S")


def test_token_chunks_merge_tiny_sections_under_their_common_path() -> None:
    found = chunks("# T\n\nintro\n\n## A\n\none\n\n## B\n\ntwo\n\n# U\n\nthree four", 40)
    assert [draft.heading_path for draft in found] == [
        (),
    ] or len(found) == 1
    nested = chunks(f"# T\n\n{words(30, 'a')}\n\n## A\n\none\n\n## B\n\ntwo\n\n### C\n\n{words(30, 'c')}", 40)
    assert [draft.heading_path for draft in nested] == [("T",), ("T", "B", "C")] or [
        draft.heading_path for draft in nested
    ] == [("T",), ("T",), ("T", "B", "C")]


def test_token_chunks_heading_of_a_long_paragraph_starts_its_first_chunk() -> None:
    found = chunks("# Head\n\n" + "Some words here. " * 40, 30)
    assert found[0].text.startswith("# Head\n\nSome")
    assert found[0].token_count > 15
    assert {draft.heading_path for draft in found} == {("Head",)}


def test_token_chunks_overlap_starts_at_a_sentence() -> None:
    found = chunks("Alpha beta gamma delta epsilon. " * 40, 50, overlap=0.2)
    assert len(found) > 3
    for before, after in pairwise(found):
        shared = before.span.end - after.span.start
        assert after.text.startswith("Alpha")
        assert before.text.endswith("epsilon.")
        assert len(before.text[-shared:].split()) == 10


def test_token_chunks_overlap_without_sentences_starts_at_a_word() -> None:
    found = chunks(words(200, "w"), 50, overlap=0.2)
    for before, after in pairwise(found):
        assert len(before.text[after.span.start - before.span.start :].split()) == 10
        assert after.text.startswith("w")


def test_token_chunks_overlap_gives_way_to_a_whole_paragraph() -> None:
    found = chunks("\n\n".join(words(18, name) for name in "ab"), 20, overlap=0.5)
    assert [draft.token_count for draft in found] == [18, 20]


def test_token_chunks_overlap_never_starts_with_white_space() -> None:
    parsed = parse_document("x 。 ???".encode(), MediaType.TEXT)
    found = chunk_by_tokens(parsed, TokenChunking(4, 0.5), CharacterTokenizer(), WINDOW)
    assert all(draft.text == draft.text.strip() for draft in found)


def test_token_chunks_without_overlap_share_nothing() -> None:
    found = chunks("Alpha beta gamma. " * 60, 20)
    assert all(before.span.end <= after.span.start for before, after in pairwise(found))


def test_token_chunks_long_code_and_tables_are_cut_at_lines() -> None:
    code = "```\n" + "\n".join(f"x = f({n}) + 1" for n in range(40)) + "\n```"
    found = chunks(code, 25)
    assert len(found) > 5
    assert all(draft.text.splitlines()[0].startswith(("x =", "```")) for draft in found)
    assert all(draft.text.endswith(("+ 1", "```")) for draft in found)


def test_token_chunks_prefer_to_end_with_a_sentence() -> None:
    found = chunks(("Seven words make up this sentence here. " * 30).strip(), 40)
    assert all(draft.text.endswith(".") for draft in found)


def test_token_chunks_never_exceed_the_window() -> None:
    found = chunks(words(400, "w"), 200, window=30)
    assert max(draft.token_count for draft in found) <= 30


def test_token_chunks_gigantic_word_is_split() -> None:
    found = chunks("intro " + "a" * 5000 + " outro", 20)
    assert len(found) > 10
    assert "".join(draft.text for draft in found).count("a") == 5000


def test_token_chunks_of_pages_say_on_which_they_start_and_end() -> None:
    parsed = parse_document(
        pdf([[("BodyText", "one two")], [("BodyText", "three four")], [("BodyText", "five six")]]),
        MediaType.PDF,
    )
    found = chunk_by_tokens(parsed, TokenChunking(4, 0.0), WordTokenizer(), WINDOW)
    assert [(draft.page_start, draft.page_end) for draft in found] == [(1, 2), (3, 3)]


def test_token_chunks_limit_below_one_character_raises_invalid_argument() -> None:
    class Heavy(CharacterTokenizer):
        def count(self, text: str) -> int:
            return 3 * len(text)

    parsed = parse_document(b"ab", MediaType.TEXT)
    with pytest.raises(InvalidArgument) as caught:
        chunk_by_tokens(parsed, TokenChunking(2), Heavy(), WINDOW)
    assert caught.value.violations[0].field == "chunking.max_tokens"
