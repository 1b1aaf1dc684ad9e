from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_worker.chunk import ruler
from ingest_worker.chunk.ruler import CHARACTERS_PER_TOKEN, TokenRuler, fit, slices
from rag_server.backends.protocols import Offsets
from rag_server.domain.document import Block, BlockKind, Span
from tests.tokenizing import WordTokenizer

TEXTS = st.text("ab \n\t\u00a0", max_size=80)


class RecordingTokenizer(WordTokenizer):
    """Notes how long the texts are that it gets."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def count(self, text: str) -> int:
        self.lengths.append(len(text))
        return super().count(text)

    def offsets(self, text: str) -> Offsets:
        self.lengths.append(len(text))
        return super().offsets(text)


def of(text: str, tokenizer: WordTokenizer | None = None) -> TokenRuler:
    block = Block(BlockKind.PARAGRAPH, Span(0, len(text)))
    return TokenRuler(text, [block], tokenizer or WordTokenizer())


@given(text=TEXTS, size=st.integers(4, 30))
def test_slices_make_up_the_range_and_are_bounded(text: str, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ruler, "SLICE_CHARACTERS", size)
        found = list(slices(text, 0, len(text)))
    assert all(0 < end - start <= size for start, end in found)
    assert [start for start, _ in found] == [0, *(end for _, end in found)][: len(found)]
    assert (found[-1][1] if found else 0) == len(text)


@settings(deadline=None)
@given(words=st.lists(st.text("ab", min_size=1, max_size=3), max_size=40), size=st.integers(16, 40))
def test_ruler_slices_cut_at_white_space_weigh_as_the_whole(words: list[str], size: int) -> None:
    text = " ".join(words)
    whole = of(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ruler, "SLICE_CHARACTERS", size)
        sliced = of(text)
    for start, end in pairwise(range(0, len(text) + 1, 5)):
        assert sliced.weight(start, end) == whole.weight(start, end)
    assert sliced.weight(0, len(text)) == len(words)


@given(text=TEXTS, size=st.integers(4, 30))
def test_ruler_in_slices_never_weighs_less_than_the_tokens_or_the_characters(text: str, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ruler, "SLICE_CHARACTERS", size)
        sliced = of(text)
    tokens = WordTokenizer().count(text)
    assert sliced.weight(0, len(text) + 1) >= max(
        tokens, (len(text) - CHARACTERS_PER_TOKEN) / CHARACTERS_PER_TOKEN
    )


@pytest.mark.parametrize("text", ["word " * 20_000, "w" * 100_000, " " * 50_000 + "w" * 50_000])
def test_ruler_long_block_is_tokenised_in_slices(text: str) -> None:
    tokenizer = RecordingTokenizer()
    of(text, tokenizer)
    assert max(tokenizer.lengths) <= ruler.SLICE_CHARACTERS
    assert sum(tokenizer.lengths) == len(text)


@pytest.mark.parametrize("text", ["word " * 20_000, "w" * 100_000])
def test_fit_long_span_never_tokenises_all_of_it(text: str) -> None:
    tokenizer = RecordingTokenizer()
    pieces = fit(Span(0, len(text)), text, tokenizer, 254)
    assert max(tokenizer.lengths) <= ruler.SLICE_CHARACTERS
    assert all(count <= 254 for _, _, count in pieces)
    assert "".join(text[span.start : span.end] for span, _, _ in pieces).replace(" ", "") == text.replace(
        " ", ""
    )


def test_ruler_empty_document_weighs_nothing() -> None:
    assert TokenRuler("", [], WordTokenizer()).weight(0, 0) == 0
