from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rag_server.domain.document import Span
from rag_server.generation.filters.blocklist import BlocklistFilter
from rag_server.generation.filters.filter import Action, Filter
from rag_server.generation.filters.length import LengthFilter
from rag_server.generation.filters.pii import PiiFilter
from rag_server.generation.filters.stream import FilteredText
from rag_server.testing.filter_suite import streamed

PII = PiiFilter()
BLOCKED = BlocklistFilter(["plan b", "secret"])
WORDS = ["plan", "b", "secret", "600", "123", "456", "+34", "a@b.org", "12345678", "Z", ".", "ES91", "x", "("]


def test_text_is_told_as_soon_as_its_words_are_complete() -> None:
    text = FilteredText([PII, BLOCKED])
    told = []
    for piece in ("The he", "ron waits. Call 6", "00 123", " 456 now", " and"):
        text.feed(piece)
        told.append(text.release(text.decided))
    text.end()
    told.append(text.release(text.decided))
    assert told == ["The ", "heron waits. Call ", "", "", "[phone] now ", "and"]


def test_text_without_filters_is_told_at_once() -> None:
    text = FilteredText([])
    text.feed("The he")
    assert text.release(text.decided) == "The he"


def test_spans_point_at_what_is_told() -> None:
    whole = "Ask a@b.org or c@d.org today."
    text = FilteredText([PII])
    text.end(whole)
    told = text.release(len(whole))
    assert told == "Ask [email] or [email] today."

    def shown(part: str) -> str:
        start = whole.index(part)
        span = text.shown_span(Span(start, start + len(part)))
        return told[span.start : span.end]

    assert shown("Ask") == "Ask"
    assert shown(" or ") == " or "
    assert shown("today.") == "today."
    assert shown("c@d.org") == "[email]"
    assert shown("b.org or c@") == "[email] or [email]"
    assert shown(whole) == told


def test_release_up_to_a_place_within_a_finding_tells_all_of_it() -> None:
    text = FilteredText([PII])
    text.end("Ask a@b.org now")
    assert text.release(2) == "As"
    assert text.release(6) == "k [email]"
    assert text.is_released(11)
    assert text.release(99) == " now"
    assert text.redactions == {("pii", "email"): 1}


def test_text_that_is_refused_ends_before_what_was_found() -> None:
    text = FilteredText([PII, BLOCKED])
    text.feed("a@b.org has plan b, and more ")
    assert text.release(text.decided) == "[email] has "
    assert text.refused_by == "blocklist"
    text.end(" ...")
    assert text.release(99) == ""


def test_what_refuses_goes_before_what_replaces() -> None:
    text = FilteredText([PII, BlocklistFilter(["b.org"])])
    text.end("Ask a@b.org")
    assert text.release(99) == "Ask "
    assert text.refused_by == "blocklist"


def test_word_without_an_end_is_held_back_by_a_bound() -> None:
    text = FilteredText([PII])
    told = 0
    for _ in range(100):
        text.feed("x" * 50)
        told += len(text.release(text.decided))
    assert 5000 - told <= 2 * PII.reach + 52


def test_personal_data_within_a_word_without_an_end_is_found() -> None:
    for before in range(0, 1200, 100):
        whole = "," * before + "a@b.org" + "," * 700
        told, _ = streamed([PII], list(whole))
        assert told == whole.replace("a@b.org", "[email]")


@given(
    st.lists(st.sampled_from([*WORDS, " ", " ", "-"]), max_size=30),
    st.lists(st.integers(0, 80), max_size=8),
    st.sampled_from([[PII], [BLOCKED], [PII, BLOCKED], [LengthFilter(20), PII]]),
)
def test_stream_that_is_cut_anywhere_tells_what_the_whole_does(
    words: list[str], cuts: list[int], filters: list[Filter]
) -> None:
    text = "".join(words)
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(places)]
    assert streamed(filters, pieces) == streamed(filters, [text])


@given(st.text(alphabet="ab1 @.+-:6Z\n", max_size=80), st.integers(0, 80))
def test_nothing_that_the_filter_finds_is_told(text: str, cut: int) -> None:
    redacting = PiiFilter(action=Action.REDACT)
    told, _ = streamed([redacting], [text[:cut], text[cut:]])
    for found in redacting.find(text):
        assert text[found.start : found.end] not in told or "[" in told
