from __future__ import annotations

import time

import pytest

from ingest_worker.crawl.links import extract_links
from ingest_worker.crawl.results import SkipReason

URL = "http://h.org/a/b"


def test_links_are_absolute_unique_and_in_order() -> None:
    page = extract_links(
        b'<a href="c">1</a><area href="/d?x=1&amp;y=2"><a href="c#part">2</a><iframe src="e"></iframe><a>',
        URL,
    )
    assert page.links == ("http://h.org/a/c", "http://h.org/d?x=1&y=2", "http://h.org/a/e")


def test_links_refer_to_the_first_base() -> None:
    page = extract_links(b'<head><base href="/x/"><base href="/y/"></head><a href="c">', URL)
    assert page.links == ("http://h.org/x/c",)


def test_links_of_a_base_that_is_unusable_refer_to_the_page() -> None:
    assert extract_links(b'<base href="file:///etc/"><a href="c">', URL).links == ("http://h.org/a/c",)


def test_links_with_rel_nofollow_and_fragments_are_left_out() -> None:
    page = extract_links(b'<a rel="me NoFollow" href="c">1</a><a href="#top">2</a><a rel=next href=d>', URL)
    assert page.links == ("http://h.org/a/d",)


def test_links_of_other_schemes_and_malformed_ones_are_counted() -> None:
    page = extract_links(b'<a href="mailto:a@b"><a href="file:///x"><a href="http://[::1/">', URL)
    assert page.links == ()
    assert page.skipped == {SkipReason.UNSUPPORTED_SCHEME: 2, SkipReason.INVALID_URL: 1}


def test_links_over_the_bound_are_counted() -> None:
    data = b"".join(b"<a href=/%d>" % number for number in range(10))
    page = extract_links(data, URL, max_links=3)
    assert len(page.links) == 3
    assert page.skipped == {SkipReason.TOO_MANY_LINKS: 7}


def test_canonical_and_robots_are_read() -> None:
    page = extract_links(
        b'<link rel="canonical" href="../c?utm_source=x"><meta name="Robots" content="NOINDEX, Nofollow">'
        b'<meta name="ours" content="noarchive"><meta name="googlebot" content="nosnippet">',
        URL,
        robot="ours",
    )
    assert page.canonical == "http://h.org/c"
    assert page.directives == {"noindex", "nofollow", "noarchive"}


def test_refresh_is_a_link() -> None:
    page = extract_links(b'<meta http-equiv="Refresh" content="0; URL=\'/next\'">', URL)
    assert page.links == ("http://h.org/next",)


@pytest.mark.parametrize(
    ("data", "charset"),
    [
        ('<a href="/é">'.encode(), ""),
        ('<a href="/é">'.encode("latin-1"), "iso-8859-1"),
        ('<meta charset="iso-8859-1"><a href="/é">'.encode("latin-1"), ""),
        ('<a href="/é">'.encode(), "no-such-charset"),
    ],
)
def test_links_are_read_in_the_page_s_encoding(data: bytes, charset: str) -> None:
    assert extract_links(data, URL, charset=charset).links == ("http://h.org/%C3%A9",)


@pytest.mark.parametrize(
    "data",
    [
        b"<div>" * 100_000,
        b"<b>" * 450 + b"</i>" * 300_000,
        b"<a " + b" ".join(b"a%d" % number for number in range(100_000)) + b">",
        b"<!--" * 300_000,
        b"<" * 1_000_000,
        b"<script>" * 100_000,
        b"<form><table><tr><td>" * 50_000,
        b"<a href='" + b"x" * 2_000_000,
        b"<p><a href=/q>x" * 100_000,
        b"&" * 1_000_000,
    ],
    ids=["deep", "unmatched", "attributes", "comments", "angles", "scripts", "tables", "long", "p", "amp"],
)
def test_links_of_a_hostile_page_take_linear_time(data: bytes) -> None:
    before = time.process_time()
    page = extract_links(b"<a href=/first>x</a>" + data, URL)
    assert time.process_time() - before < 20  # quadratic time would take minutes
    assert "http://h.org/first" in page.links


@pytest.mark.parametrize("data", [b"", b"\x00" * 1000, b"\xff\xfe", b"plain", b"%PDF-1.7 \x00\xff"])
def test_links_of_what_is_no_page_are_none(data: bytes) -> None:
    assert extract_links(data, URL).links == ()
