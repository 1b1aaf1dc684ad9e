from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_server.domain.document import Span
from rag_server.generation.sentences import MAX_SENTENCE, CitedSentence, SentenceCutter
from rag_server.text.sentences import split_sentences
from tests.unit.rag_server.generation.splitting import CUTS, pieces

Part = str | tuple[int, ...]


def cut(parts: list[Part], *, shown: bool = False) -> tuple[str, list[CitedSentence]]:
    """Return the answer and its sentences; `shown`: markers stay in it, as `[1]`."""
    cutter, answer, sentences = SentenceCutter(), "", []
    for part in parts:
        if isinstance(part, str):
            answer += part
            sentences += cutter.add_text(part)
        else:
            marker = f"[{', '.join(map(str, part))}]" if shown else ""
            answer += marker
            cutter.add_marker(part, len(marker))
    return answer, [*sentences, *cutter.end()]


def spoken(answer: str, sentence: CitedSentence) -> str:
    return answer[sentence.span.start : sentence.span.end]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (["It waits", (1,), ". It eats", (2,), "."], [("It waits.", (1,)), ("It eats.", (2,))]),
        (["It waits.", (1,), " It eats.", (2,)], [("It waits.", (1,)), ("It eats.", (2,))]),
        (["It waits", (1,), (3,), ". So."], [("It waits.", (1, 3)), ("So.", ())]),
        ([(1,), "It waits. So it is."], [("It waits.", (1,)), ("So it is.", ())]),
        (["Dr. Heron waits", (2,), ". So."], [("Dr. Heron waits.", (2,)), ("So.", ())]),
        (["- one", (1,), "\n- two", (2,), "\n"], [("one", (1,)), ("two", (2,))]),
        ([(1,), " One.\n", (2,), " Two.\n"], [("One.", (1,)), ("Two.", (2,))]),
        (["-", (1,), " One\n-", (2,), " Two"], [("One", (1,)), ("Two", (2,))]),
        (["One.\n", (1,), "\nTwo.\n", (2,)], [("One.", (1,)), ("Two.", (2,))]),
        (["It waits", (1,), " at dawn", (1, 2), "."], [("It waits at dawn.", (1, 2))]),
        ([], []),
        (["  \n"], []),
    ],
)
def test_sentences_get_the_markers_within_and_after_them(
    parts: list[Part], expected: list[tuple[str, tuple[int, ...]]]
) -> None:
    answer, sentences = cut(parts)
    assert [(each.text, each.numbers) for each in sentences] == expected
    assert [spoken(answer, each) for each in sentences] == [text for text, _ in expected]


def test_spans_count_the_markers_that_stay() -> None:
    answer, sentences = cut(["It waits ", (1,), ". It eats.", (2,), " So ", (1, 3), " it is."], shown=True)
    assert answer == "It waits [1]. It eats.[2] So [1, 3] it is."
    assert [spoken(answer, each) for each in sentences] == ["It waits [1].", "It eats.", "So [1, 3] it is."]
    assert [each.numbers for each in sentences] == [(1,), (2,), (1, 3)]
    assert sentences[0].text == "It waits ."


def test_sentence_is_told_when_the_next_has_begun() -> None:
    cutter = SentenceCutter()
    assert list(cutter.add_text("It waits. It")) == []
    assert list(cutter.add_text(" eats")) == [CitedSentence(Span(0, 9), "It waits.", ())]
    assert list(cutter.end()) == [CitedSentence(Span(10, 17), "It eats", ())]


def test_text_without_an_end_is_told_before_it_grows_without_bounds() -> None:
    cutter = SentenceCutter()
    found = list(cutter.add_text("word " * 1000))
    assert found
    assert max(len(each.text) for each in found) <= MAX_SENTENCE + len("word ")


TEXT = st.lists(
    st.sampled_from(["It waits", ". ", " ", "Dr.", "\n", "\n\n", "- ", "No", "3", "! ", "[", "ñ", "e.g."]),
    max_size=25,
).map("".join)


@given(TEXT, CUTS)
def test_sentences_do_not_depend_on_how_the_stream_is_cut(text: str, cuts: list[int]) -> None:
    assert cut([*pieces(text, cuts)]) == cut([text])


@given(st.lists(TEXT | st.tuples(st.integers(1, 9)), max_size=8), st.booleans())
def test_every_marker_goes_to_one_sentence_and_spans_are_in_order(parts: list[Part], shown: bool) -> None:
    answer, sentences = cut(parts, shown=shown)
    ends = [0]
    for each in sentences:
        assert ends[-1] <= each.span.start < each.span.end <= len(answer)
        ends.append(each.span.end)
        assert each.text.strip() == each.text


@pytest.mark.parametrize("shown", [True, False])
def test_markers_without_words_are_one_mark(shown: bool) -> None:
    cutter = SentenceCutter()
    for number in range(1, 3000):
        assert not list(cutter.add_text(""))
        cutter.add_marker((number % 5 + 1,), 3 if shown else 0)
    assert len(cutter._marks) == 1
    assert len(cutter._anchors) <= 2
    assert list(cutter.end()) == []


def test_text_that_has_no_sentence_is_not_kept() -> None:
    cutter = SentenceCutter()
    assert list(cutter.add_text("---\n" * 3000)) == []
    assert len(cutter._tail) <= MAX_SENTENCE + 8
    (sentence,) = [*cutter.add_text("It waits."), *cutter.end()]
    assert (sentence.text, sentence.span) == ("It waits.", Span(12_000, 12_009))


def test_text_is_cut_anew_only_where_a_sentence_may_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def counting(text: str) -> list[Span]:
        nonlocal looks
        looks += 1
        return split_sentences(text)

    monkeypatch.setattr("rag_server.generation.sentences.split_sentences", counting)
    cutter = SentenceCutter()
    words = ["word "] * 100
    found = [
        each.text for text in ("It waits. So ", *words, "etc. ", *words) for each in cutter.add_text(text)
    ]
    assert found == ["It waits."]
    assert looks <= 4, "not once for each of the words"
    (last,) = cutter.end()
    assert last.text.count("word") == 200
