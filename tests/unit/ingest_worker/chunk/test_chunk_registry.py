from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_worker.chunk import chunk_document
from ingest_worker.chunk.ruler import CHARACTERS_PER_TOKEN
from ingest_worker.parse import parse_document
from rag_server.backends.protocols import Tokenizer
from rag_server.domain.collection import CharacterChunking, Chunking, TokenChunking
from rag_server.domain.document import ChunkDraft, MediaType, ParsedDocument
from tests.documents import HTML, MARKDOWN, pdf
from tests.tokenizing import MODEL, CharacterTokenizer, MiniLmTokenizer, WordTokenizer

WORDS = st.text("abc.é中。!?\u0301", min_size=1, max_size=12)
PIECES = st.one_of(
    WORDS,
    st.sampled_from(
        ["# A", "## B", "## B c", "### C", "```\nx = 1\ny\n```", "- i\n- j", "|a|b|\n|-|-|\n|1|2|", "\n\n"]
    ),
    st.integers(2, 40).map(lambda rows: "\n\n|a|b|\n|-|-|\n" + "|one|two. three|\n" * rows + "\n"),
    st.integers(1, 400).map(lambda length: "w" * length),
    st.integers(1, 60).map(lambda count: "One two. " * count),
    st.integers(1, 60).map(lambda count: " " * count),
)
SOURCES = st.tuples(st.lists(PIECES, min_size=1), st.sampled_from([" ", "\n", "\n\n"])).map(
    lambda t: t[1].join(t[0])
)
CHUNKINGS: st.SearchStrategy[Chunking] = st.one_of(
    st.builds(TokenChunking, st.integers(1, 60), st.floats(0, 0.5)),
    st.integers(2, 80).flatmap(
        lambda most: st.builds(CharacterChunking, st.just(most), st.integers(0, most - 1))
    ),
)


def assert_sound(
    drafts: list[ChunkDraft], parsed: ParsedDocument, chunking: Chunking, tokenizer: Tokenizer
) -> None:
    uncovered = 0
    previous = -1
    for draft in drafts:
        assert draft.text == draft.prefix + parsed.text[draft.span.start : draft.span.end]
        assert draft.text
        assert draft.text == draft.text.strip()
        assert draft.token_count == tokenizer.count(draft.text)
        assert not parsed.text[uncovered : draft.span.start].strip(), "text between two chunks is lost"
        assert draft.span.start > previous, "chunks go forward"
        assert draft.span.end > uncovered, "every chunk holds something new"
        uncovered, previous = draft.span.end, draft.span.start
        if isinstance(chunking, TokenChunking):
            most = min(chunking.max_tokens, MODEL.content_tokens)
            assert draft.token_count <= most
            assert len(draft.text) <= CHARACTERS_PER_TOKEN * most
        else:
            assert len(draft.text) <= chunking.max_characters
    assert not parsed.text[uncovered:].strip()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(source=SOURCES, chunking=CHUNKINGS, tokenizer=st.sampled_from([WordTokenizer(), CharacterTokenizer()]))
def test_chunks_of_any_text_cover_it_within_their_bounds(
    source: str, chunking: Chunking, tokenizer: Tokenizer
) -> None:
    parsed = parse_document(("x " + source).encode(), MediaType.MARKDOWN)
    assert_sound(chunk_document(parsed, chunking, tokenizer, MODEL), parsed, chunking, tokenizer)


@pytest.fixture(scope="module")
def minilm() -> MiniLmTokenizer:
    return MiniLmTokenizer()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(source=SOURCES, max_tokens=st.integers(4, 300), overlap=st.floats(0, 0.5))
def test_chunks_by_the_models_tokens_fit_its_window(
    minilm: MiniLmTokenizer, source: str, max_tokens: int, overlap: float
) -> None:
    parsed = parse_document(("x " + source).encode(), MediaType.MARKDOWN)
    chunking = TokenChunking(max_tokens, overlap)
    assert_sound(chunk_document(parsed, chunking, minilm, MODEL), parsed, chunking, minilm)


@pytest.mark.parametrize(
    "chunking", [TokenChunking(), TokenChunking(20), CharacterChunking(), CharacterChunking(100, 20)]
)
@pytest.mark.parametrize(
    ("data", "media_type"),
    [(HTML.encode(), MediaType.HTML), (MARKDOWN.encode(), MediaType.MARKDOWN), (pdf(), MediaType.PDF)],
)
def test_chunks_of_each_format_are_sound(
    minilm: MiniLmTokenizer, data: bytes, media_type: MediaType, chunking: Chunking
) -> None:
    parsed = parse_document(data, media_type)
    assert_sound(chunk_document(parsed, chunking, minilm, MODEL), parsed, chunking, minilm)


@pytest.mark.parametrize(
    "source",
    [
        "a" * 200_000,
        "x " + " " * 200_000 + "y",
        "中文。" * 20_000,
        "a," * 50_000,
        "".join("a" + " " * (n % 300) for n in range(600)),
        "```\n" + "line\n" * 5_000 + "z" * 20_000 + "\n```",
    ],
    ids=["word", "spaces", "unspaced", "commas", "runs", "code"],
)
def test_chunks_of_hostile_text_are_sound(minilm: MiniLmTokenizer, source: str) -> None:
    parsed = parse_document(source.encode(), MediaType.MARKDOWN)
    chunking = TokenChunking()
    assert_sound(chunk_document(parsed, chunking, minilm, MODEL), parsed, chunking, minilm)


def test_chunking_tokenises_a_long_text_a_bounded_number_of_times() -> None:
    class Counting(WordTokenizer):
        characters = 0

        def count(self, text: str) -> int:
            self.characters += len(text)
            return super().count(text)

    costs = []
    for paragraphs in (20, 200):
        tokenizer = Counting()
        source = ("Some words make a sentence here. " * 100 + "\n\n") * paragraphs
        chunk_document(parse_document(source.encode(), MediaType.TEXT), TokenChunking(), tokenizer, MODEL)
        costs.append(tokenizer.characters / len(source))
    assert costs[1] < 1.2 * costs[0]
    assert costs[1] < 12
