from __future__ import annotations

import httpx
import pytest

from ingest_worker.crawl import media
from ingest_worker.crawl.directives import forbids, header_canonical, header_directives
from ingest_worker.crawl.results import SkipReason


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["noindex"], {"noindex"}),
        (["NoIndex, nofollow"], {"noindex", "nofollow"}),
        (["ours: noindex", "noarchive"], {"noindex", "noarchive"}),
        (["otherbot: noindex, nofollow"], set()),
        (["unavailable_after: 25 Jun 2030 15:00:00 PST"], {"unavailable_after: 25 jun 2030 15:00:00 pst"}),
        ([], set()),
    ],
)
def test_header_directives_are_those_for_us(values: list[str], expected: set[str]) -> None:
    headers = httpx.Headers([("x-robots-tag", value) for value in values])
    assert header_directives(headers, "Ours") == expected


def test_none_forbids_both() -> None:
    assert forbids({"none"}, "noindex")
    assert forbids({"none"}, "nofollow")
    assert not forbids({"noindex"}, "nofollow")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('<http://h/c>; rel="canonical"', "http://h/c"),
        ('</x>; rel=next, <c>; title=a; rel="me canonical"', "http://h/a/c"),
        ("</x>; rel=alternate", ""),
        ("<file:///x>; rel=canonical", ""),
        ("<" * 5000, ""),
    ],
)
def test_header_canonical_is_resolved(value: str, expected: str) -> None:
    assert header_canonical(httpx.Headers({"link": value}), "http://h/a/b") == expected


@pytest.mark.parametrize(
    ("declared", "path", "include_documents", "expected"),
    [
        ("text/html", "/a", False, None),
        ("application/xhtml+xml", "/a", False, None),
        ("", "/a", False, None),
        ("", "/a.pdf", False, SkipReason.DOCUMENTS_NOT_INCLUDED),
        ("", "/a.pdf", True, None),
        ("application/octet-stream", "/a.docx", True, None),
        ("application/octet-stream", "/a", True, SkipReason.UNSUPPORTED_MEDIA_TYPE),
        ("application/pdf", "/a", True, None),
        ("image/png", "/a.pdf", True, SkipReason.UNSUPPORTED_MEDIA_TYPE),
        ("video/mp4", "/a", False, SkipReason.UNSUPPORTED_MEDIA_TYPE),
    ],
)
def test_media_type_decides_what_is_taken(
    declared: str, path: str, include_documents: bool, expected: SkipReason | None
) -> None:
    effective = media.effective_type(declared, path)
    assert media.refusal(effective, include_documents=include_documents) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Text/HTML; charset=UTF-8", ("text/html", "utf-8")),
        ('text/html; charset="latin-1"', ("text/html", "latin-1")),
        ("text/html", ("text/html", "")),
        ("", ("", "")),
        ("text/html; charset*=x'y'z", ("text/html", "")),
    ],
)
def test_media_type_declared_is_read(value: str, expected: tuple[str, str]) -> None:
    assert media.declared_type(httpx.Headers({"content-type": value})) == expected
