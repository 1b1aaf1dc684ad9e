from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.backends.openai.completion import InvalidCompletion, Piece, ProviderError, parse_piece
from rag_server.domain.generation import FinishReason, Usage


def choice(**fields: Any) -> bytes:
    return json.dumps({"choices": [fields]}).encode()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (choice(delta={"content": "a"}), Piece("a")),
        (choice(delta={"role": "assistant", "content": None}), Piece()),
        (choice(delta={"reasoning_content": "hm"}), Piece()),
        (choice(message={"content": "whole"}, finish_reason="stop"), Piece("whole", FinishReason.COMPLETE)),
        (choice(delta={}, finish_reason="LENGTH"), Piece(reason=FinishReason.MAX_TOKENS)),
        (choice(delta=None, finish_reason=""), Piece()),
        (choice(delta={"content": "\ud800x"}), Piece("?x")),
        (b'{"choices": [], "usage": {"prompt_tokens": 3}}', Piece(usage=Usage(3, 0))),
        (b'{"choices": [], "prompt_filter_results": [{"prompt_index": 0}]}', Piece()),
        (b'{"choices": [{"delta": {}}], "usage": {"prompt_tokens": -1}}', Piece()),
    ],
)
def test_piece_is_what_one_event_adds(data: bytes, expected: Piece) -> None:
    assert parse_piece(data) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"5",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [5]}',
        b'{"choices": {}}',
        choice(delta=5),
        choice(delta={"content": ["a"]}),
        choice(delta={}, finish_reason="tool_calls"),
        choice(delta={}, finish_reason=5),
        b"[" * 100_000,
    ],
)
def test_what_is_no_completion_is_invalid(data: bytes) -> None:
    with pytest.raises(InvalidCompletion):
        parse_piece(data)


def test_error_in_the_stream_is_the_providers() -> None:
    with pytest.raises(ProviderError):
        parse_piece(b'{"error": {"message": "out of memory"}, "choices": []}')


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "delta", "content", "finish_reason", "usage", "prompt_tokens"]), inner
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_a_piece_or_an_error_of_ours(message: Any) -> None:
    try:
        piece = parse_piece(json.dumps(message).encode())
    except (InvalidCompletion, ProviderError):
        return
    assert isinstance(piece.text, str)
