from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as FastTokenizer

from rag_server.backends.onnx.artifact import CorruptArtifact
from rag_server.backends.onnx.source import resolve
from rag_server.backends.onnx.tokenizer import OnnxTokenizer

MINILM = resolve("sentence-transformers/all-MiniLM-L6-v2").folder
assert MINILM is not None
TOKENIZER = OnnxTokenizer.from_file(MINILM / "tokenizer.json", window_tokens=10)
REFERENCE = FastTokenizer.from_file(str(MINILM / "tokenizer.json"))
REFERENCE.no_padding()


def test_special_tokens_are_those_around_a_text() -> None:
    assert (TOKENIZER.prefix, TOKENIZER.suffix) == ([101], [102])
    assert TOKENIZER.special_token_count == 2
    assert TOKENIZER.content_tokens == 8


def test_special_tokens_unknown_letter_is_not_taken_for_one(tmp_path: Path) -> None:
    from tokenizers.models import WordLevel
    from tokenizers.processors import TemplateProcessing

    fast = FastTokenizer(WordLevel({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "river": 3}, unk_token="[UNK]"))
    fast.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    fast.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"])
    tokenizer = OnnxTokenizer(fast, window_tokens=4)
    assert tokenizer.windows("river") == [[1, 3, 2]]
    assert tokenizer.windows("a") == [[1, 0, 2]]


def test_windows_long_text_keeps_every_token_in_order() -> None:
    text = "the river runs past the old house and the market in winter, without an end"
    windows = TOKENIZER.windows(text)
    assert [len(window) for window in windows] == [10, 10]
    assert all((window[0], window[-1]) == (101, 102) for window in windows)
    content = [token for window in windows for token in window[1:-1]]
    assert content == REFERENCE.encode(text, add_special_tokens=False).ids


def test_windows_exactly_full_text_is_one_window() -> None:
    assert len(TOKENIZER.windows("the " * 8)) == 1
    assert len(TOKENIZER.windows("the " * 9)) == 2


def test_windows_empty_text_is_one_window_of_special_tokens() -> None:
    assert TOKENIZER.windows("") == [[101, 102]]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_count_any_text_agrees_with_offsets_and_windows(text: str) -> None:
    spans = TOKENIZER.offsets(text)
    assert len(spans) == TOKENIZER.count(text) == sum(len(window) - 2 for window in TOKENIZER.windows(text))
    assert (spans <= len(text)).all()


def test_offsets_are_code_points_not_bytes() -> None:
    offsets = TOKENIZER.offsets("🦜 señal").tolist()
    assert offsets[0] == [0, 1]
    assert (offsets[1][0], offsets[-1][1]) == (2, 7)


@pytest.mark.parametrize(("text", "count"), [("", 0), (" ", 0), ("one", 1), ("one two", 2)])
def test_offsets_any_number_of_tokens_has_two_columns_of_int32(text: str, count: int) -> None:
    offsets = TOKENIZER.offsets(text)
    assert offsets.shape == (count, 2)
    assert offsets.dtype == np.int32


def test_count_text_longer_than_the_files_own_limit_is_not_truncated() -> None:
    assert TOKENIZER.count("the " * 5000) == 5000


@pytest.mark.parametrize("content", [b"", b"{", b"{}"])
def test_from_file_unreadable_file_is_corrupt(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(CorruptArtifact):
        OnnxTokenizer.from_file(tmp_path / "tokenizer.json", window_tokens=10)


def test_window_without_room_for_a_text_is_refused() -> None:
    with pytest.raises(ValueError, match="no room"):
        OnnxTokenizer(FastTokenizer.from_file(str(MINILM / "tokenizer.json")), window_tokens=2)
