from __future__ import annotations

import time

import pytest

from ingest_worker.crawl.robots import parse_robots
from tests.crawled_site import Answer, crawl, html, limits, serving

ROBOT = "rag-server-test"


@pytest.mark.parametrize(
    ("text", "path", "allowed"),
    [
        ("User-agent: *\nDisallow: /x", "/x/y", False),
        ("User-agent: *\nDisallow: /x", "/y", True),
        ("User-agent: other\nDisallow: /", "/x", True),
        ("User-agent: other\nUser-agent: *\nDisallow: /", "/x", False),
        ("User-agent: RAG-Server-Test\nDisallow: /x\n\nUser-agent: *\nDisallow: /", "/y", True),
        ("User-agent: rag-server-test\nDisallow: /x\n\nUser-agent: *\nAllow: /", "/x", False),
        ("User-agent: a\nDisallow: /a\nUser-agent: b\nDisallow: /b\nUser-agent: *\nDisallow: /c", "/b", True),
        ("User-agent *\nDisallow: /x", "/x", False),
        ("User-agent: * # all\nDisallow: /x # this", "/x", False),
        ("User-agent: *\nDisallow: /*.pdf$", "/a.pdf", False),
        ("User-agent: *\nDisallow: /\nAllow: /ok", "/ok", True),
        ("", "/x", True),
    ],
)
def test_robots_groups_hold_for_the_robot_they_name(text: str, path: str, allowed: bool) -> None:
    assert parse_robots(text, ROBOT).can_fetch(f"http://h.org{path}", ROBOT) is allowed


def test_robots_with_many_agents_and_rules_is_parsed_in_linear_time() -> None:
    agents = "".join(f"User-agent: a{number}\n" for number in range(12_000))
    text = agents + "User-agent: *\n" + "Disallow: /x\n" * 20_000
    before = time.process_time()
    rules = parse_robots(text, ROBOT)
    assert time.process_time() - before < 20
    assert not rules.can_fetch("http://h.org/x", ROBOT)


def test_robots_with_hostile_wildcards_matches_in_time() -> None:
    rules = parse_robots("User-agent: *\n" + "Disallow: /" + "a*" * 200_000 + "b\n", ROBOT)
    before = time.process_time()
    assert rules.can_fetch("http://h.org/" + "a" * 2000, ROBOT)
    assert time.process_time() - before < 5


async def test_robots_forbidden_page_is_skipped_and_never_asked_for() -> None:
    async with serving({"/": html("/open", "/closed/a"), "/open": html(), "/closed/a": html()}) as site:
        site.pages["/robots.txt"] = Answer(b"User-agent: *\nDisallow: /closed/", media_type="text/plain")
        found = await crawl(site.base)
    assert found.outcomes(site) == {"/": "fetched", "/open": "fetched", "/closed/a": "robots_disallowed"}
    assert "/closed/a" not in site.paths
    assert [each.path for each in site.requests].count("/robots.txt") == 1


async def test_robots_rules_for_us_count_by_the_product_token() -> None:
    async with serving({"/": html("/a"), "/a": html()}) as site:
        site.pages["/robots.txt"] = Answer(
            b"User-agent: rag-server-test\nDisallow: /a\n\nUser-agent: *\nAllow: /"
        )
        found = await crawl(site.base)
    assert found.outcomes(site)["/a"] == "robots_disallowed"
    assert site.requests[0].headers["user-agent"].startswith("rag-server-test/1.0")


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_robots_absent_allows_everything(status: int) -> None:
    async with serving({"/": html(), "/robots.txt": Answer(status=status)}) as site:
        assert (await crawl(site.base)).outcomes(site) == {"/": "fetched"}


@pytest.mark.parametrize("status", [500, 503])
async def test_robots_with_a_server_error_forbids_everything(status: int) -> None:
    async with serving({"/": html(), "/robots.txt": Answer(status=status)}) as site:
        found = await crawl(site.base)
    assert found.outcomes(site) == {"/": "robots_unreachable"}
    assert found.pages[0].error is not None
    assert site.paths == []


async def test_robots_redirects_are_followed_and_a_loop_counts_as_absent() -> None:
    async with serving({"/": html("/a"), "/a": html()}) as site:
        site.pages["/robots.txt"] = Answer(status=302, headers={"location": "/rules"})
        site.pages["/rules"] = Answer(b"User-agent: *\nDisallow: /a")
        assert (await crawl(site.base)).outcomes(site)["/a"] == "robots_disallowed"
        site.pages["/rules"] = Answer(status=302, headers={"location": "/robots.txt"})
        assert (await crawl(site.base)).outcomes(site)["/a"] == "fetched"


async def test_robots_larger_than_the_bound_counts_up_to_there() -> None:
    filler = b"# filler\n" * 57_000  # 501 KiB
    async with serving({"/": html("/early", "/late"), "/early": html(), "/late": html(text="late")}) as site:
        site.pages["/robots.txt"] = Answer(
            b"User-agent: *\nDisallow: /early\n" + filler + b"Disallow: /late\n" + filler
        )
        found = await crawl(site.base)
    assert found.outcomes(site) == {"/": "fetched", "/early": "robots_disallowed", "/late": "fetched"}


async def test_robots_crawl_delay_spaces_the_requests() -> None:
    async with serving({"/": html("/a", "/b"), "/a": html(), "/b": html(text="b")}) as site:
        site.pages["/robots.txt"] = Answer(b"User-agent: *\nCrawl-delay: 0.2")
        await crawl(site.base, use_sitemaps=False)
    times = [each.time_s for each in site.requests if each.path != "/robots.txt"]
    assert len(times) == 3
    assert times[-1] - times[0] > 0.25


@pytest.mark.parametrize("rule", [b"Crawl-delay: 3600", b"Request-rate: 1/1h"])
async def test_robots_delay_over_the_bound_skips_the_page(rule: bytes) -> None:
    async with serving({"/": html()}) as site:
        site.pages["/robots.txt"] = Answer(b"User-agent: *\n" + rule)
        found = await crawl(site.base, bounds=limits(max_crawl_delay_s=5))
    assert found.outcomes(site) == {"/": "crawl_delay_too_long"}
    assert site.paths == []
