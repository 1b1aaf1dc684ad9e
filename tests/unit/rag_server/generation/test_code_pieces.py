from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.generation.code_pieces import MAX_SPAN, CodePieces
from tests.unit.rag_server.generation.splitting import CUTS, pieces


def told(parts: list[str]) -> list[tuple[str, bool]]:
    """Return the pieces, those of one kind that follow each other joined."""
    splitter, joined = CodePieces(), list[tuple[str, bool]]()
    for text, is_code in [*(each for part in parts for each in splitter.feed(part)), *splitter.end()]:
        assert text
        if joined and joined[-1][1] == is_code:
            joined[-1] = (joined[-1][0] + text, is_code)
        else:
            joined.append((text, is_code))
    return joined


def code_in(text: str) -> list[str]:
    return [piece for piece, is_code in told([text]) if is_code]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a `b` c", ["`b`"]),
        ("a `` b ` c `` d", ["`` b ` c ``"]),
        ("a `b\nc` d", ["`b\nc`"]),
        ("a ` b\n\nc ` d", []),
        ("a `" + "b" * MAX_SPAN + "` c", []),
        ("```\na\n```\nb", ["```\na\n```\n"]),
        ("```py\na\n~~~\n``\n````\nb", ["```py\na\n~~~\n``\n````\n"]),
        ("~~~ a`b\nc\n~~~", ["~~~ a`b\nc\n~~~"]),
        ("> ```\n> a\n> ```\nb", ["```\n> a\n> ```\n"]),
        ("1. ```\n   a\n   ```\n", ["```\n   a\n   ```\n"]),
        ("a ```b``` c", ["```b```"]),
        ("a ```\nb", []),
        ("a ~~~\nb", []),
        ("```\nnever closed", ["```\nnever closed"]),
        (" " * 40 + "a\n```\nb\n```\n", ["```\nb\n```\n"]),
        ("", []),
    ],
)
def test_code_is_told_from_prose(text: str, code: list[str]) -> None:
    assert code_in(text) == code


def test_block_that_has_not_ended_is_known() -> None:
    splitter = CodePieces()
    splitter.feed("```\na\n")
    assert splitter.is_in_block
    splitter.feed("```\n")
    assert not splitter.is_in_block


def test_prose_is_told_at_once_and_a_span_when_it_has_ended() -> None:
    splitter = CodePieces()
    assert splitter.feed("a ") == [("a ", False)]
    assert splitter.feed("`b") == []
    assert splitter.feed("`") == []
    assert splitter.feed(" c") == [("`b`", True), (" c", False)]


MARKED = st.lists(
    st.sampled_from([*"ab `~\n\t>-", "```", "~~~~", "\n```\n", "1. ", " " * 40, "a" * 200]), max_size=40
).map("".join)


@given(MARKED, CUTS)
def test_code_does_not_depend_on_how_the_stream_is_cut(text: str, cuts: list[int]) -> None:
    whole = told([text])
    assert told(pieces(text, cuts)) == whole
    assert "".join(piece for piece, _ in whole) == text


@given(MARKED)
def test_no_more_is_held_back_than_a_span_may_have(text: str) -> None:
    splitter = CodePieces()
    waiting = 0
    for sign in text:
        waiting += 1 - sum(len(piece) for piece, _ in splitter.feed(sign))
        assert waiting <= MAX_SPAN + 1
