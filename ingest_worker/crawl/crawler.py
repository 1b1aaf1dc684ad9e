"""The crawl itself: breadth-first, several pages at once, handed out one by one."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import httpx

from ingest_worker.crawl.budget import Budget, BudgetSpent
from ingest_worker.crawl.client import CrawlClient
from ingest_worker.crawl.frontier import Entry, Frontier, url_hash
from ingest_worker.crawl.pace import HostPacer
from ingest_worker.crawl.results import Outcome, PageResult, SkipReason, StopReason
from ingest_worker.crawl.robots import RobotsCache
from ingest_worker.crawl.scope import Scope
from ingest_worker.crawl.sitemaps import SitemapReader
from ingest_worker.crawl.spec import CrawlSpec, KnownPage
from ingest_worker.crawl.state import CrawlState, digest_of
from ingest_worker.crawl.taken import TakenPages
from ingest_worker.crawl.urls import normalize_url
from ingest_worker.crawl.visit import Visitor
from ingest_worker.network import CheckedBackend, CheckedTransport, Resolver, resolve

_MAX_ATTEMPTS = 2
_KEEPALIVE_S = 10.0


class Crawler:
    """Makes crawls. Holds what they share: who we are, and which addresses may be reached."""

    def __init__(
        self, *, user_agent: str, allow_private_addresses: bool = False, resolver: Resolver = resolve
    ) -> None:
        """Set what all crawls share.

        Args:
            user_agent: Sent with each request. What stands before the first `/` or space is the product token
                that robots.txt files know us by.
            allow_private_addresses: Whether loopback, private and other special addresses are reachable.
            resolver: Looks up host names.
        """
        self._user_agent = user_agent
        self._backend = CheckedBackend(resolver, allow_private_addresses=allow_private_addresses)
        self._ssl_context = httpx.create_ssl_context(trust_env=False)

    def crawl(
        self, spec: CrawlSpec, *, known: Iterable[KnownPage] = (), state: CrawlState | None = None
    ) -> CrawlRun:
        """Return a crawl, which starts when it is entered.

            async with crawler.crawl(spec) as run:
                async for page in run:
                    ...

        Args:
            spec: What to crawl.
            known: The pages of the crawl before: asked for conditionally, and also if no link leads there.
            state: Where an interrupted crawl of the same spec stood. Raises `ValueError` if it is another's.
        """
        limits = spec.limits
        transport = CheckedTransport(
            self._backend,
            self._ssl_context,
            max_connections=limits.concurrency + 2,
            keepalive_expiry_s=_KEEPALIVE_S,
        )
        return CrawlRun(spec, {page.url: page for page in known}, state, transport, self._user_agent)


class CrawlRun:
    """One crawl, to be entered with `async with` and iterated over once. Leaving it stops all of its work.

    Visits of one depth end before those of the next begin, so that depths are the shortest. At most
    `concurrency` pages wait to be handed out, so that a slow consumer slows the crawl.
    """

    def __init__(
        self,
        spec: CrawlSpec,
        known: Mapping[str, KnownPage],
        state: CrawlState | None,
        transport: CheckedTransport,
        user_agent: str,
    ) -> None:
        if state is None:
            state = CrawlState(digest_of(spec))
            starts = dict.fromkeys(normalize_url(url) for url in spec.start_urls)
            state.waiting = [Entry(url, 0) for url in starts]
            state.seen = {url_hash(url) for url in starts}
        elif state.spec_digest != digest_of(spec):
            raise ValueError("the state belongs to a crawl of something else")
        limits = spec.limits
        self._spec = spec
        self._known = known
        self._transport = transport
        self._scope = Scope(spec)
        self._frontier = Frontier(limits)
        self._frontier.seen = set(state.seen)
        self._frontier.variants = dict(state.variants)
        for entry in state.waiting:
            self._frontier.put(entry)
        self._taken = TakenPages(state.taken, state.claims, state.contents)
        self._has_read_sitemaps = state.has_read_sitemaps or not spec.use_sitemaps or limits.max_depth == 0
        self._has_offered_known = state.has_offered_known
        self._elapsed_before_s = state.elapsed_s
        self._began_s = time.monotonic()
        self._budget = Budget(
            max_requests=limits.max_requests,
            max_bytes=limits.max_total_bytes,
            requests=state.requests,
            spent_bytes=state.spent_bytes,
        )
        robot = user_agent.partition("/")[0].partition(" ")[0]
        client = CrawlClient(transport, limits, self._budget, user_agent=user_agent)
        pacer = HostPacer(
            requests_per_second=limits.requests_per_second, concurrency=limits.concurrency_per_host
        )
        robots = RobotsCache(client, pacer, robot=robot)
        self._sitemaps = SitemapReader(client, robots, pacer, self._scope, limits)
        self._visitor = Visitor(
            spec,
            client,
            robots,
            pacer,
            self._scope,
            known,
            robot=robot,
            is_taken=self._taken.has_name,
        )
        self._visits: dict[asyncio.Task[PageResult], Entry] = {}
        self._done: deque[tuple[Entry, PageResult]] = deque()
        self._search: asyncio.Task[list[tuple[str, int]]] | None = None
        self._is_paused = False
        self.stop_reason: StopReason | None = None
        """Why the crawl ended; None: it has not, or was paused."""
        self.skipped_links: Counter[SkipReason] = Counter()
        """Links of the pages handed out by this run that were left out, by why; one that occurs on several
        pages counts for each."""

    @property
    def taken(self) -> int:
        """Pages fetched or unchanged so far, those of interrupted runs too."""
        return self._taken.count

    async def __aenter__(self) -> Self:
        self._began_s = time.monotonic()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._cancel()
        finally:
            await self._transport.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> PageResult:
        while True:
            while self._done:
                page = self._absorb(*self._done.popleft())
                if page is not None:
                    self._launch()  # so that work goes on while the caller looks at the page
                    return page
            if self.stop_reason is not None:
                raise StopAsyncIteration
            self._launch()
            if self._is_paused and not self._visits and self._search is None:
                raise StopAsyncIteration
            if not self._visits and self._search is None:
                await self._stop(StopReason.MAX_PAGES if self._has_more() else StopReason.COMPLETE)
            else:
                await self._wait()

    def pause(self) -> None:
        """Begin no more visits: the iteration ends with those on their way, and `state` says how to go on."""
        self._is_paused = True

    def state(self) -> CrawlState:
        """Return where the crawl stands: the pages handed out are done, all others are to be visited."""
        unfinished = [entry for entry, _ in self._done] + list(self._visits.values())
        return CrawlState(
            spec_digest=digest_of(self._spec),
            waiting=[*unfinished, *self._frontier.entries()],
            seen=set(self._frontier.seen),
            variants=dict(self._frontier.variants),
            claims=set(self._taken.names),
            contents=dict(self._taken.contents),
            taken=self._taken.count,
            requests=self._budget.requests,
            spent_bytes=self._budget.spent_bytes,
            elapsed_s=self._elapsed_s(),
            has_read_sitemaps=self._has_read_sitemaps,
            has_offered_known=self._has_offered_known,
        )

    def _elapsed_s(self) -> float:
        return self._elapsed_before_s + time.monotonic() - self._began_s

    def _has_more(self) -> bool:
        """Whether there is, or may be, something left to visit."""
        unsearched = not self._has_read_sitemaps or (bool(self._known) and not self._has_offered_known)
        return len(self._frontier) > 0 or unsearched

    def _launch(self) -> None:
        """Start what may start now."""
        if self.stop_reason is not None or self._search is not None or self._is_paused:
            return
        limits = self._spec.limits
        busy = [entry.depth for entry in (*self._visits.values(), *(entry for entry, _ in self._done))]
        while (depth := self._frontier.depth()) is not None:
            if depth > 0 and not self._has_read_sitemaps:
                break  # first the sitemaps, whose pages are of depth 1
            if len(busy) >= min(limits.concurrency, limits.max_pages - self.taken):
                return
            if busy and depth > min(busy):
                return
            entry = self._frontier.pop()
            busy.append(depth)
            self._visits[asyncio.create_task(self._visitor.visit(entry))] = entry
        if busy or self.taken >= limits.max_pages:
            return
        if not self._has_read_sitemaps:
            self._search = asyncio.create_task(self._from_sitemaps())
        elif not self._has_offered_known:
            self._search = asyncio.create_task(self._from_known())

    async def _from_sitemaps(self) -> list[tuple[str, int]]:
        urls = await self._sitemaps.discover(normalize_url(url) for url in self._spec.start_urls)
        kept, _ = await asyncio.to_thread(self._scope.divide, urls, 1)
        return [(url, 1) for url in kept]

    async def _from_known(self) -> list[tuple[str, int]]:
        """Return the known pages, for what no link leads to any more may still be there, or be gone."""
        deepest = self._spec.limits.max_depth

        def in_scope() -> list[tuple[str, int]]:
            depths = ((page.url, min(page.depth, deepest)) for page in self._known.values())
            return [(url, depth) for url, depth in depths if self._scope.refusal(url, depth) is None]

        return await asyncio.to_thread(in_scope)

    async def _wait(self) -> None:
        """Wait until something is done, or the time is over."""
        tasks: set[asyncio.Task[Any]] = {*self._visits, *([self._search] if self._search else [])}
        left_s = max(0.0, self._spec.limits.max_duration_s - self._elapsed_s())
        done, _ = await asyncio.wait(tasks, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        stop = None if done else StopReason.MAX_DURATION
        for task in done:
            try:
                if task is self._search:
                    self._take_found(self._search)
                else:
                    self._done.append((self._visits[task], task.result()))
                    del self._visits[task]
            except BudgetSpent as spent:
                stop = spent.stop_reason  # the visit stays among those to be done
        if stop is not None:
            await self._stop(stop)

    def _take_found(self, search: asyncio.Task[list[tuple[str, int]]]) -> None:
        found = search.result()
        self._search = None
        if self._has_read_sitemaps:
            self._has_offered_known = True
        self._has_read_sitemaps = True
        self._offer(found)

    def _offer(self, found: Iterable[tuple[str, int]]) -> None:
        for url, depth in found:
            if not self._frontier.has_seen(url):
                reason = self._frontier.offer(url, depth)
                if reason is not None:
                    self.skipped_links[reason] += 1

    def _absorb(self, entry: Entry, page: PageResult) -> PageResult | None:
        """Take a visit into account. Returns the page to hand out; None: it will be tried again."""
        failed = page.outcome is Outcome.FAILED and page.error is not None and page.error.is_retryable
        if failed and entry.attempts + 1 < _MAX_ATTEMPTS:
            self._frontier.put(replace(entry, attempts=entry.attempts + 1))
            return None
        self._frontier.mark(page.url)
        if page.outcome in {Outcome.FETCHED, Outcome.UNCHANGED}:
            page = self._taken.take(page)
        self.skipped_links.update(page.skipped_links)
        self._offer((link, page.depth + 1) for link in page.links)
        return page

    async def _stop(self, reason: StopReason) -> None:
        unfinished = [*self._visits.values()]
        await self._cancel()
        self.stop_reason = reason
        for entry in unfinished:
            self._frontier.put(entry)

    async def _cancel(self) -> None:
        """End every task of this crawl."""
        tasks: list[asyncio.Task[Any]] = [*self._visits, *([self._search] if self._search else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._visits.clear()
        self._search = None
