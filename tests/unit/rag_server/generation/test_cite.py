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


ANSWER = st.lists(
    st.sampled_from(
        ["It waits", ".", " ", "Dr.", "\n", "- ", "[1]", " [2]", "[9]", "![x](y)", "http://a.b", "!"]
    ),
    max_size=25,
).map("".join)


@given(ANSWER, CUTS, st.booleans())
def test_answer_and_citations_do_not_depend_on_how_the_stream_is_cut(
    answer: str, cuts: list[int], keeps_markers: bool
) -> None:
    whole = told([answer], keeps_markers=keeps_markers)
    assert told(pieces(answer, cuts), keeps_markers=keeps_markers) == whole
    assert "[9]" not in whole[0]
    assert keeps_markers or "[1]" not in whole[0]
