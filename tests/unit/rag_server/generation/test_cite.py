from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.domain.generation import Delta
from rag_server.generation.cite import _decided, _Draft
from rag_server.generation.sentences import CitedSentence
from tests.unit.rag_server.generation.splitting import CUTS, pieces


@pytest.mark.parametrize(
    ("text", "decided"),
    [
        ("", ""),
        ("It waits", "It waits"),
        ("It waits ", "It waits "),
        ("It waits.", "It waits."),
        ("It waits. ", "It waits."),
        ("It waits. So", "It waits."),
        ("It waits. So ", "It waits. So "),
        ('It "waits."  So', 'It "waits."'),
        ("one\n", "one"),
        ("one\n\n- two", "one\n\n- two"),
        ("one\n\n-", "one"),
        ("\n" * 5000, ""),
    ],
)
def test_word_that_may_begin_a_sentence_is_held_back(text: str, decided: str) -> None:
    assert text[: _decided(text)] == decided


def told(parts: list[str], *, keeps_markers: bool) -> tuple[str, list[CitedSentence]]:
    draft = _Draft(frozenset(), frozenset({0, 1, 2}), keeps_markers=keeps_markers)
    text, sentences = "", []
    for found in [*(each for part in parts for each in draft.add(part)), *draft.end()]:
        if isinstance(found, Delta):
            assert found.text
            text += found.text
        else:
            assert found.span.end <= len(text)
            sentences.append(found)
    return text, sentences


@pytest.mark.parametrize(
    ("answer", "text", "sentences"),
    [
        ("[1] One.\n[9] Two.\n", "One.\nTwo.\n", [("One.", (1,)), ("Two.", ())]),
        ("[9]  \n One [1].", "\n One.", [("One.", (1,))]),
        ("- [2] One\n- [1]  Two", "- One\n-  Two", [("One", (2,)), ("Two", (1,))]),
        ("Code `a[0]` is [3], [9].", "Code `a[0]` is.", [("Code `a[0]` is.", (3,))]),
    ],
)
def test_marker_that_is_taken_out_leaves_no_trace(
    answer: str, text: str, sentences: list[tuple[str, tuple[int, ...]]]
) -> None:
    for parts in ([answer], list(answer)):
        shown, found = told(parts, keeps_markers=False)
        assert shown == text
        assert [(shown[each.span.start : each.span.end], each.numbers) for each in found] == sentences


PIECES = [
    "It waits",
    ".",
    " ",
    "Dr.",
    "\n",
    "- ",
    "[1]",
    " [2]",
    "[9]",
    "[2-3]",
    "([1])",
    ", ",
    "![x](y)",
    "http://a.b",
    "!",
]
ANSWER = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)
ANSWER_WITH_CODE = st.lists(st.sampled_from([*PIECES, "`", "```", "\n```\n"]), max_size=25).map("".join)


@given(ANSWER, CUTS, st.booleans())
def test_answer_and_citations_do_not_depend_on_how_the_stream_is_cut(
    answer: str, cuts: list[int], keeps_markers: bool
) -> None:
    whole = told([answer], keeps_markers=keeps_markers)
    assert told(pieces(answer, cuts), keeps_markers=keeps_markers) == whole
    assert "[9]" not in whole[0]
    assert keeps_markers or "[1]" not in whole[0]


@given(ANSWER_WITH_CODE, CUTS, st.booleans())
def test_answer_with_code_does_not_depend_on_how_the_stream_is_cut(
    answer: str, cuts: list[int], keeps_markers: bool
) -> None:
    whole = told([answer], keeps_markers=keeps_markers)
    assert told(pieces(answer, cuts), keeps_markers=keeps_markers) == whole
