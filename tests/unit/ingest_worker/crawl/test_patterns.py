from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_worker.crawl.patterns import UrlPattern, compile_patterns
from rag_server.errors import InvalidArgument


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/docs/*", "/docs/a/b?c=1", True),
        ("/docs/*", "/docs", False),
        ("/docs", "/docs", True),
        ("/docs", "/docs/a", False),
        ("*.pdf", "/a/b.pdf", True),
        ("*.pdf", "/a/b.pdf?x", False),
        ("*?page=*", "/a?page=2", True),
        ("/a*a", "/a", False),
        ("http://h.org/*", "/x", True),
        ("https://h.org/*", "/x", False),
        ("*", "/", True),
        ("/[ab]", "/a", False),
    ],
)
def test_pattern_matches_whole_url_or_path_and_query(pattern: str, path: str, expected: bool) -> None:
    assert UrlPattern(pattern).matches(f"http://h.org{path}") is expected


@given(st.text("ab*", max_size=8).map("/{}".format), st.text("ab", max_size=10))
def test_pattern_agrees_with_the_regular_expression(pattern: str, rest: str) -> None:
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), f"/{rest}") is not None
    assert UrlPattern(pattern).matches(f"http://h.org/{rest}") is expected


def test_pattern_hostile_ends_at_once() -> None:
    pattern = UrlPattern("*a" * 249 + "*b")
    before = time.process_time()
    assert not pattern.matches("http://h.org/" + "a" * 2000)
    assert time.process_time() - before < 1


@pytest.mark.parametrize(
    ("texts", "field"),
    [
        (["docs/*"], "include[0]"),
        (["*", ""], "include[1]"),
        (["/" + "x" * 500], "include[0]"),
        (["*"] * 101, "include"),
    ],
)
def test_patterns_that_cannot_be_meant_name_the_field(texts: list[str], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        compile_patterns(texts, "include")
    assert caught.value.violations[0].field == field
