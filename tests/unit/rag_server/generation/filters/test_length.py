from __future__ import annotations

import pytest

from rag_server.generation.filters.filter import Found
from rag_server.generation.filters.length import LengthFilter
from rag_server.testing.filter_suite import FilterSuite


def test_length_finds_what_is_beyond_the_limit_of_the_whole() -> None:
    limited = LengthFilter(5)
    assert limited.find("12345") == []
    assert limited.find("1234567") == [Found(5, 7, "too_long")]
    assert limited.find("67", offset=5) == [Found(0, 2, "too_long")]
    assert limited.find("5", offset=4) == []


class TestLengthFilter(FilterSuite):
    @pytest.fixture
    def checked(self) -> LengthFilter:
        return LengthFilter(9)

    @pytest.fixture
    def texts(self) -> list[str]:
        return ["one two three four", "x" * 30]
