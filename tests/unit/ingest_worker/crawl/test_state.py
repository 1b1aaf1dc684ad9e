from __future__ import annotations

import json

import pytest

from ingest_worker.crawl import CrawlSpec, CrawlState
from ingest_worker.crawl.frontier import MAX_FRONTIER_CHARACTERS, Entry, Frontier
from ingest_worker.crawl.results import SkipReason
from ingest_worker.crawl.state import digest_of
from tests.crawled_site import crawl, crawler, html, limits, serving


def test_frontier_gives_the_least_depth_first() -> None:
    frontier = Frontier(limits())
    for url, depth in (("http://h/c", 2), ("http://h/a", 1), ("http://h/d", 2), ("http://h/b", 1)):
        assert frontier.offer(url, depth) is None
    assert [frontier.pop().url[-1] for _ in range(4)] == ["a", "b", "c", "d"]
    assert (len(frontier), frontier.depth()) == (0, None)


def test_frontier_is_bounded_in_urls_and_in_what_it_remembers() -> None:
    small = Frontier(limits(max_frontier_urls=2))
    assert [small.offer(f"http://h/{number}", 1) for number in range(3)] == [
        *(None, None),
        SkipReason.FRONTIER_FULL,
    ]
    forgetful = Frontier(limits(max_seen_urls=2))
    for number in range(2):
        forgetful.offer(f"http://h/{number}", 1)
        forgetful.pop()
    assert forgetful.offer("http://h/x", 1) is SkipReason.FRONTIER_FULL


def test_frontier_is_bounded_in_characters() -> None:
    frontier = Frontier(limits(max_frontier_urls=100_000))
    long = "http://h/" + "x" * 2000
    taken = sum(frontier.offer(f"{long}{number}", 1) is None for number in range(3000))
    assert 2000 < taken < 2100
    assert sum(len(entry.url) for entry in frontier.entries()) < MAX_FRONTIER_CHARACTERS + len(long) + 10


def test_frontier_takes_only_so_many_variants_of_a_query() -> None:
    frontier = Frontier(limits(max_query_variants=2))
    reasons = [frontier.offer(f"http://h/a?x={number}", 1) for number in range(3)]
    assert reasons == [None, None, SkipReason.TOO_MANY_VARIANTS]
    assert frontier.offer("http://h/b?x=1", 1) is None


def test_state_survives_its_bytes() -> None:
    state = CrawlState(
        "digest",
        waiting=[Entry("http://h/a", 1), Entry("http://h/b", 2, 1)],
        seen={1, 2**64 - 1},
        variants={5: 6},
        claims={7},
        contents={"aa": "http://h/c"},
        taken=3,
        requests=9,
        spent_bytes=10,
        elapsed_s=1.5,
        has_read_sitemaps=True,
    )
    assert CrawlState.from_bytes(state.to_bytes()) == state


def broken(**changes: object) -> bytes:
    return json.dumps({**json.loads(CrawlState("x").to_bytes()), **changes}).encode()


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000),
        broken(version=2),
        broken(seen="AAA"),
        broken(seen="AAAA"),
        broken(waiting=[["http://h/"]]),
        broken(variants=["", "AAAAAAAAAAA="]),
        broken(contents=[]),
    ],
)
def test_state_damaged_raises_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 # nothing but the type is promised
        CrawlState.from_bytes(data)


def test_state_of_another_crawl_is_refused() -> None:
    state = CrawlState(digest_of(CrawlSpec(("http://a.org/",))))
    with pytest.raises(ValueError, match="something else"):
        crawler().crawl(CrawlSpec(("http://b.org/",)), state=state)


@pytest.mark.parametrize("interrupted_after", [0, 1, 2, 5, 9])
async def test_state_taken_up_again_visits_every_page_once(interrupted_after: int) -> None:
    async with serving({"/": html(*(f"/{number}" for number in range(6)))}) as site:
        for number in range(6):
            site.pages[f"/{number}"] = html(f"/{number}/x", "/")
            site.pages[f"/{number}/x"] = html("/", text=f"leaf {number}")
        spec = CrawlSpec((site.base,), limits=limits(concurrency=3))
        async with crawler().crawl(spec) as run:
            first = [await anext(run) for _ in range(interrupted_after)]
            saved = run.state().to_bytes()
        state = CrawlState.from_bytes(saved)
        rest = await crawl(site.base, bounds=limits(concurrency=3), state=state)
    paths = sorted(page.url.removeprefix(site.base) for page in [*first, *rest.pages])
    assert paths == sorted(site.pages)
    assert rest.run.taken == len(site.pages)


async def test_state_counts_pages_of_all_runs() -> None:
    async with serving({"/": html(*(f"/{number}" for number in range(9)))}) as site:
        site.fallback = lambda path: html(text=path)
        bounds = limits(max_pages=5)
        spec = CrawlSpec((site.base,), limits=bounds, use_sitemaps=False)
        async with crawler().crawl(spec) as run:
            for _ in range(2):
                await anext(run)
            state = run.state()
        rest = await crawl(site.base, bounds=bounds, state=state, use_sitemaps=False)
    assert len(rest.pages) == 3
    assert rest.run.stop_reason == "max_pages"


async def test_paused_crawl_ends_its_visits_and_goes_on_with_the_others() -> None:
    pages = {f"/{number}": html(f"/{number + 1}") for number in range(6)}
    async with serving({"/": html("/0", "/1", "/2"), **pages}) as site:
        spec = CrawlSpec((site.base,), limits=limits(concurrency=2), use_sitemaps=False)
        first = []
        async with crawler().crawl(spec) as run:
            async for page in run:
                first.append(page.url)
                run.pause()
            assert run.stop_reason is None
            state = CrawlState.from_bytes(run.state().to_bytes())
        assert 1 <= len(first) <= 3
        found = await crawl(site.base, state=state, bounds=limits(concurrency=2), use_sitemaps=False)
        visited = [*first, *(page.url for page in found.pages)]
        assert len(visited) == len(set(visited)) == 8
        assert len(site.paths) == len(set(site.paths))
