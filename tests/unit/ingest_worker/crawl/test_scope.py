from __future__ import annotations

import pytest

from ingest_worker.crawl.results import SkipReason
from ingest_worker.crawl.scope import Scope
from ingest_worker.crawl.spec import CrawlLimits, CrawlSpec
from rag_server.errors import InvalidArgument


@pytest.mark.parametrize(
    ("start", "url", "expected"),
    [
        ("http://a.org/x", "http://a.org/y", True),
        ("http://a.org/x", "https://a.org/y", True),
        ("https://a.org/x", "http://a.org/y", False),
        ("http://a.org:8080/x", "http://a.org:8080/y", True),
        ("http://a.org:8080/x", "https://a.org:8080/y", False),
        ("http://a.org/x", "http://a.org:8080/y", False),
        ("http://a.org/x", "http://www.a.org/y", False),
        ("http://a.org/x", "http://a.org.evil.net/y", False),
        ("HTTP://A.org:80/x", "http://a.org/y", True),
    ],
)
def test_scope_without_hosts_is_the_start_urls_own(start: str, url: str, expected: bool) -> None:
    assert Scope(CrawlSpec((start,))).has_host(url) is expected


@pytest.mark.parametrize(
    ("host", "url", "expected"),
    [
        ("b.org", "http://b.org/", True),
        ("b.org", "https://b.org/", True),
        ("b.org", "https://b.org:444/", False),
        ("b.org:8080", "http://b.org:8080/", True),
        ("b.org:8080", "http://b.org/", False),
        ("b.org", "http://a.org/", False),
        ("B.ORG", "http://b.org/", True),
        ("[::1]:80", "http://[::1]/", True),
    ],
)
def test_scope_with_hosts_is_exactly_those(host: str, url: str, expected: bool) -> None:
    assert Scope(CrawlSpec(("http://a.org/",), hosts=(host,))).has_host(url) is expected


@pytest.mark.parametrize(
    ("path", "depth", "expected"),
    [
        ("/docs/a", 1, None),
        ("/blog/a", 1, SkipReason.NOT_INCLUDED),
        ("/docs/private/a", 1, SkipReason.EXCLUDED),
        ("/docs/private/a", 0, None),
        ("/docs/a", 3, SkipReason.TOO_DEEP),
        ("/docs/" + "x" * 2000, 1, SkipReason.URL_TOO_LONG),
        ("/docs/" + "a/b/" * 4, 1, SkipReason.REPETITIVE_PATH),
        ("/docs/" + "a/b/" * 3, 1, None),
        ("/docs/" + "/".join(map(str, range(40))), 1, SkipReason.REPETITIVE_PATH),
    ],
)
def test_scope_refuses_with_a_reason(path: str, depth: int, expected: SkipReason | None) -> None:
    spec = CrawlSpec(
        ("http://a.org/",), include=("/docs/*",), exclude=("*/private/*",), limits=CrawlLimits(max_depth=2)
    )
    assert Scope(spec).refusal(f"http://a.org{path}", depth) is expected


def test_scope_divides_and_counts() -> None:
    scope = Scope(CrawlSpec(("http://a.org/",)))
    kept, refused = scope.divide(["http://a.org/b", "http://b.org/", "http://c.org/"], 1)
    assert kept == ("http://a.org/b",)
    assert refused == {SkipReason.OTHER_HOST: 2}


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"start_urls": ()}, "start_urls"),
        ({"start_urls": ("http://a.org/",) * 101}, "start_urls"),
        ({"hosts": ("a.org/x",)}, "hosts[0]"),
        ({"hosts": ("a.org", "a b")}, "hosts[1]"),
        ({"hosts": ("a.org:99999",)}, "hosts[0]"),
        ({"hosts": ("a.org",) * 101}, "hosts"),
        ({"exclude": ("x",)}, "exclude[0]"),
    ],
)
def test_spec_that_is_wrong_names_the_field(options: dict[str, tuple[str, ...]], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        CrawlSpec(**{"start_urls": ("http://a.org/",), **options})
    assert caught.value.violations[0].field == field


@pytest.mark.parametrize(
    ("url", "reason"),
    [("file:///etc/passwd", "UNSUPPORTED_URI_SCHEME"), ("http://u:p@a.org/", "URI_INVALID")],
)
def test_spec_start_url_that_cannot_be_fetched_is_refused(url: str, reason: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        CrawlSpec((url,))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "bounds", [{"max_pages": 0}, {"max_pages": 10_001}, {"max_depth": -1}, {"requests_per_second": 0.0}]
)
def test_limits_out_of_range_name_the_field(bounds: dict[str, float]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        CrawlLimits(**bounds)  # type: ignore[arg-type]
    assert caught.value.violations[0].field == next(iter(bounds))
