from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.domain.document import Span
from rag_server.domain.generation import Citation, CitationOrigin, Cited, Delta, FinishReason, Usage, Words
from rag_server.generation.kept_words import decode, encode

COUNTS = st.integers(0, 10_000)
SPANS = st.builds(lambda start, length: Span(start, start + length), COUNTS, COUNTS)
CITATIONS = st.builds(
    Citation,
    COUNTS,
    SPANS,
    SPANS,
    st.text(st.characters()),
    st.sampled_from(CitationOrigin),
    st.none() | st.floats(0, 1),
)
WORDS = st.lists(
    st.builds(Delta, st.text(st.characters()))
    | st.builds(Cited, CITATIONS)
    | st.builds(Usage, COUNTS, COUNTS)
    | st.sampled_from(FinishReason)
)


def joined(words: list[Words]) -> list[Words]:
    """Return an answer with the deltas that follow each other as one."""
    found: list[Words] = []
    for word in words:
        if isinstance(word, Delta) and found and isinstance(found[-1], Delta):
            found[-1] = Delta(found[-1].text + word.text)
        else:
            found.append(word)
    return found


@given(WORDS)
def test_answer_comes_back_as_it_was_but_for_cuts_in_its_text(words: list[Words]) -> None:
    assert list(decode(encode(words))) == joined(words)


def test_lone_surrogate_of_a_model_comes_back() -> None:
    assert list(decode(encode([Delta("\ud800")]))) == [Delta("\ud800")]


@pytest.mark.parametrize("data", [b"", b"[1", b'[["other"]]', b'[["reason", "x"]]', b"[1]"])
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        list(decode(data))
