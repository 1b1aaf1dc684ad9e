from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.generation.markers import MAX_SPACE, Marker, MarkerParser
from tests.unit.rag_server.generation.splitting import CUTS, pieces


def parsed(parts: list[str]) -> tuple[str, list[tuple[int, Marker]]]:
    """Return the text without markers, and where in it each marker was."""
    parser, text, markers = MarkerParser(), "", []
    for found in [*(each for part in parts for each in parser.feed(part)), *parser.end()]:
        if isinstance(found, Marker):
            markers.append((len(text), found))
        else:
            assert found
            text += found
    return text, markers


@pytest.mark.parametrize(
    ("given_text", "text", "markers"),
    [
        ("At dawn [1].", "At dawn.", [(7, (1,))]),
        ("At dawn.[2] It eats", "At dawn. It eats", [(8, (2,))]),
        ("At dawn [1][12]", "At dawn", [(7, (1,)), (7, (12,))]),
        ("At dawn [1, 3; 3,1].", "At dawn.", [(7, (1, 3))]),
        ("At dawn 【4】.", "At dawn.", [(7, (4,))]),
        ("At dawn [ 1 ].", "At dawn.", [(7, (1,))]),
        ("none [x] [1a] [] [1234] [", "none [x] [1a] [] [1234] [", []),
        ("open [1", "open [1", []),
        ("ends in spaces  ", "ends in spaces  ", []),
        ("a  \n[1] b", "a  \n b", [(4, (1,))]),
        ("At dawn [[1]].", "At dawn.", [(7, (1,))]),
        ("At dawn ([1]).", "At dawn.", [(7, (1,))]),
        ("At dawn ([1], [2][3]).", "At dawn.", [(7, (1, 2, 3))]),
        ("At dawn **[1]**.", "At dawn.", [(7, (1,))]),
        ("At dawn [1], [2].", "At dawn.", [(7, (1,)), (7, (2,))]),
        ("At dawn [1] and [2] & [3].", "At dawn.", [(7, (1,)), (7, (2,)), (7, (3,))]),
        ("Al alba [1] y [2].", "Al alba.", [(7, (1,)), (7, (2,))]),
        ("At dawn [1], and [x] [2].", "At dawn, and [x].", [(7, (1,)), (16, (2,))]),
        ("At dawn [2-4].", "At dawn.", [(7, (2, 3, 4))]),
        ("At dawn [1, 3\u20135].", "At dawn.", [(7, (1, 3, 4, 5))]),
        ("At dawn [^2].", "At dawn.", [(7, (2,))]),
        ("At dawn [Source 1, source 3].", "At dawn.", [(7, (1, 3))]),
        ("Al alba [Fuentes 1; 2].", "Al alba.", [(7, (1, 2))]),
        (f"At dawn [{','.join(map(str, range(1, 20)))}].", "At dawn.", [(7, tuple(range(1, 20)))]),
        ("(see [1]) and (one", "(see) and (one", [(4, (1,))]),
        ("**bold** [1] * 2", "**bold** * 2", [(8, (1,))]),
        ("in [0, 1] or [0-5], [5-2] or [1-100]", "in [0, 1] or [0-5], [5-2] or [1-100]", []),
        ("of `a[1]` and ``b[2] ` ``[3]", "of `a[1]` and ``b[2] ` ``", [(25, (3,))]),
        ("```js\na[1]\n``` \nso [2]", "```js\na[1]\n``` \nso", [(18, (2,))]),
        ("- ~~~\n  [1]\n  ~~~~\n[2]", "- ~~~\n  [1]\n  ~~~~\n", [(19, (2,))]),
        ("one ` alone [1]\n\n`[2]", "one ` alone\n\n`", [(11, (1,)), (14, (2,))]),
        ("a" + " " * 100 + "[1]", "a" + " " * (100 - MAX_SPACE), [(101 - MAX_SPACE, (1,))]),
        (" " * 5000 + "a", " " * 5000 + "a", []),
    ],
)
def test_markers_are_taken_out_with_the_space_before_them(
    given_text: str, text: str, markers: list[tuple[int, tuple[int, ...]]]
) -> None:
    for parts in ([given_text], list(given_text)):
        shown, found = parsed(parts)
        assert shown == text
        assert [(place, each.numbers) for place, each in found] == markers


def test_text_is_told_as_soon_as_it_is_decided() -> None:
    parser = MarkerParser()
    assert parser.feed("At dawn [") == ["At dawn"]
    assert parser.feed("1") == []
    assert parser.feed("]") == [Marker((1,), " ", "[1]")]
    assert parser.feed(" an") == []
    assert parser.feed("d then") == [" and then"]
    assert parser.feed(" `a") == []
    assert parser.feed("[1]` b") == [" ", "`a[1]`", " b"]


MARKED = st.lists(
    st.sampled_from([*"ab 12,;-[]【】()*`~\n\t", "[1]", " and ", "[Source 2]", "```", "\n```\n", "so"]),
    max_size=60,
).map("".join)


@given(MARKED, CUTS)
def test_markers_do_not_depend_on_how_the_stream_is_cut(text: str, cuts: list[int]) -> None:
    assert parsed(pieces(text, cuts)) == parsed([text])


def test_no_more_is_held_back_than_may_belong_to_a_marker() -> None:
    parser = MarkerParser()
    assert sum(len(str(each)) for _ in range(500) for each in parser.feed(" ")) == 500 - MAX_SPACE


@given(st.text(alphabet="ab 12,[]", max_size=60))
def test_texts_and_markers_together_are_all_that_came(text: str) -> None:
    shown, markers = parsed([text])
    assert len(shown) <= len(text)
    if not markers:
        assert shown == text
