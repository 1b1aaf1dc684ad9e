"""What every `Filter` must do. Subclass it and provide the fixtures `checked` and `texts`.

class TestBlocklistFilter(FilterSuite):
    @pytest.fixture
    def checked(self): ...

    @pytest.fixture
    def texts(self): ...  # in each of them it finds something
"""

from __future__ import annotations

import random

from rag_server.generation.filters.filter import Action, Filter
from rag_server.generation.filters.stream import FilteredText


def streamed(filters: list[Filter], pieces: list[str]) -> tuple[str, str]:
    """Return what is told of a text that comes in pieces, and the filter that refuses it."""
    text = FilteredText(filters)
    told = ""
    for piece in pieces:
        text.feed(piece)
        told += text.release(text.decided)
    text.end()
    return told + text.release(text.decided), text.refused_by


class FilterSuite:
    """The conformance suite."""

    def test_filter_has_a_name_an_action_and_a_reach(self, checked: Filter) -> None:
        assert checked.name.isidentifier()
        assert checked.action in set(Action)
        assert checked.reach > 0

    def test_findings_are_in_order_apart_and_within_reach(self, checked: Filter, texts: list[str]) -> None:
        for text in [*texts, " ".join(texts)]:
            found = checked.find(text)
            assert found
            position = 0
            for each in found:
                assert position <= each.start < each.end <= len(text)
                assert each.kind.isidentifier()
                position = each.end
            if checked.name != "length":
                assert all(each.end - each.start <= checked.reach for each in found)

    def test_nothing_is_found_where_nothing_is(self, checked: Filter) -> None:
        assert checked.find("") == []
        assert checked.undecided("") == 0

    def test_undecided_is_within_the_text(self, checked: Filter, texts: list[str]) -> None:
        for text in texts:
            for end in range(len(text) + 1):
                assert 0 <= checked.undecided(text[:end]) <= end

    def test_stream_that_is_cut_anywhere_tells_what_the_whole_text_does(
        self, checked: Filter, texts: list[str]
    ) -> None:
        choice = random.Random(7)  # noqa: S311 - where to cut
        for text in [*texts, ". ".join(texts), "x" * 50 + texts[0], f"{texts[0]} y"]:
            whole = streamed([checked], [text])
            assert streamed([checked], list(text)) == whole
            for cut in range(len(text) + 1):
                assert streamed([checked], [text[:cut], text[cut:]]) == whole
            for _ in range(20):
                cuts = sorted(choice.sample(range(len(text) + 1), min(4, len(text))))
                places = zip([0, *cuts], [*cuts, len(text)], strict=True)
                assert streamed([checked], [text[start:end] for start, end in places]) == whole
