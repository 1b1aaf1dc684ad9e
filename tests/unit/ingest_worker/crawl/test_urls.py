from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_worker.crawl.urls import normalize_url, origin_of, split_url
from rag_server.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HTTP://Example.ORG:80", "http://example.org/"),
        ("https://example.org:443/a", "https://example.org/a"),
        ("https://example.org:80/a", "https://example.org:80/a"),
        ("http://a.org/b/./c/../d", "http://a.org/b/d"),
        ("http://a.org/b/%2e%2e/d", "http://a.org/d"),
        ("http://a.org/%7euser/%c3%a9", "http://a.org/~user/%C3%A9"),
        ("http://a.org/é", "http://a.org/%C3%A9"),
        ("http://a.org/a%2Fb", "http://a.org/a%2Fb"),
        ("http://a.org/x#part", "http://a.org/x"),
        ("http://a.org/x?", "http://a.org/x"),
        ("http://a.org/x?b=2&a=1", "http://a.org/x?b=2&a=1"),
        ("http://a.org/x?utm_source=n&b=2&UTM_Medium=m&fbclid=1", "http://a.org/x?b=2"),
        ("http://a.org/x?utm_source=n", "http://a.org/x"),
        ("http://a.org/x?utmost=n", "http://a.org/x?utmost=n"),
        ("  http://a.org/x\n\ty ", "http://a.org/xy"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
    ],
)
def test_url_is_written_in_one_way(text: str, expected: str) -> None:
    assert normalize_url(text) == expected


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("c", "http://a.org/d/c"),
        ("/c", "http://a.org/c"),
        ("//b.org/c", "http://b.org/c"),
        ("?q=1", "http://a.org/d/e?q=1"),
        ("../../../c", "http://a.org/c"),
        ("", "http://a.org/d/e?x=1"),
    ],
)
def test_url_relative_is_resolved_against_the_base(reference: str, expected: str) -> None:
    assert normalize_url(reference, "http://a.org/d/e?x=1") == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("file:///etc/passwd", "UNSUPPORTED_URI_SCHEME"),
        ("javascript:alert(1)", "UNSUPPORTED_URI_SCHEME"),
        ("mailto:a@b.org", "UNSUPPORTED_URI_SCHEME"),
        ("http://user:pw@a.org/", "URI_INVALID"),
        ("http://[::1/", "URI_INVALID"),
        ("http://", "URI_INVALID"),
    ],
)
def test_url_that_cannot_be_crawled_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        normalize_url(text)
    assert caught.value.reason == reason


@given(st.text(max_size=60))
def test_url_of_any_text_is_refused_or_stable(text: str) -> None:
    try:
        once = normalize_url(text, "http://a.org/d/")
    except InvalidArgument:
        return
    assert normalize_url(once) == once
    assert once.isascii()


def test_url_splits_into_origin_path_and_query() -> None:
    assert split_url("http://a.org:8080/b/c?d=/e?f") == ("http://a.org:8080", "/b/c", "?d=/e?f")
    assert origin_of("https://[2001:db8::1]:8443/b") == "https://[2001:db8::1]:8443"
