"""A visit to one URL: each hop admitted, paced and asked for; then what the answer is."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import httpx

from ingest_worker.crawl import directives, media
from ingest_worker.crawl.client import CrawlClient, redirect_target, too_many_redirects
from ingest_worker.crawl.frontier import Entry
from ingest_worker.crawl.links import PageLinks, extract_links
from ingest_worker.crawl.pace import HostPacer
from ingest_worker.crawl.results import Outcome, PageResult, SkipReason
from ingest_worker.crawl.robots import RobotsCache
from ingest_worker.crawl.scope import Scope
from ingest_worker.crawl.spec import CrawlSpec, KnownPage
from ingest_worker.crawl.urls import origin_of, split_url
from ingest_worker.fetch import fetch_failed, file_name_of
from rag_server.errors import RagError

_GONE = frozenset({404, 410})
_NOT_MODIFIED = 304
_BUSY = frozenset({429, 503})
_BUSY_PAUSE_S = 2.0
_MAX_BUSY_PAUSE_S = 60.0


@dataclass(frozen=True, slots=True)
class _Answer:
    """The last answer of a visit, read."""

    url: str
    status: int
    headers: httpx.Headers
    data: bytes
    media_type: str
    charset: str
    file_name: str
    refusal: SkipReason | None
    """Why its body was not read."""


class Visitor:
    """Visits URLs one by one. Holds no state of the crawl but what it is given."""

    def __init__(
        self,
        spec: CrawlSpec,
        client: CrawlClient,
        robots: RobotsCache,
        pacer: HostPacer,
        scope: Scope,
        known: Mapping[str, KnownPage],
        *,
        robot: str,
        is_taken: Callable[[str], bool],
    ) -> None:
        """`is_taken` says whether a URL's document is there already, so that no hop to it is needed."""
        self._spec = spec
        self._client = client
        self._robots = robots
        self._pacer = pacer
        self._scope = scope
        self._known = known
        self._robot = robot
        self._is_taken = is_taken

    async def visit(self, entry: Entry) -> PageResult:
        """Return what became of the URL. Raises only `BudgetSpent`, besides what is a bug."""
        try:
            return await self._visit(entry)
        except RagError as error:
            # Its frames would keep the page's bytes for as long as the caller keeps the result.
            error.__traceback__ = error.__cause__ = error.__context__ = None
            status = int(error.metadata.get("http_status", "0"))
            gone = status in _GONE and entry.url in self._known
            return PageResult(
                url=entry.url,
                requested_url=entry.url,
                depth=entry.depth,
                outcome=Outcome.GONE if gone else Outcome.FAILED,
                canonical_url=entry.url,
                status=status,
                error=None if gone else error,
            )

    async def _visit(self, entry: Entry) -> PageResult:
        url = entry.url
        for _ in range(self._spec.limits.max_redirects + 1):
            refusal = await self._refusal(url, entry)
            if refusal is SkipReason.ROBOTS_UNREACHABLE:
                rules = await self._robots.rules(url)
                return replace(self._skipped(entry, url, refusal), error=rules.error)
            if refusal is not None:
                return self._skipped(entry, url, refusal)
            delay_s = (await self._robots.rules(url)).delay_s
            async with self._pacer.turn(origin_of(url), delay_s):
                answer = await self._ask(url)
            if isinstance(answer, _Answer):
                return await self._judge(entry, answer)
            url = answer
        raise too_many_redirects(self._spec.limits.max_redirects)

    async def _refusal(self, url: str, entry: Entry) -> SkipReason | None:
        reason = self._scope.refusal(url, entry.depth)
        if reason is not None:
            return reason
        if self._is_taken(url):
            return SkipReason.DUPLICATE_URL
        rules = await self._robots.rules(url)
        reason = await rules.refusal(url)
        if reason is None and rules.delay_s > self._spec.limits.max_crawl_delay_s:
            return SkipReason.CRAWL_DELAY_TOO_LONG
        return reason

    async def _ask(self, url: str) -> _Answer | str:
        """Return the answer for one hop, or where it leads."""
        known = self._known.get(url)
        validators: dict[str, str] = {}
        if known is not None and known.etag:
            validators["if-none-match"] = known.etag
        if known is not None and known.last_modified:
            validators["if-modified-since"] = known.last_modified
        async with self._client.get(url, validators) as response:
            target = redirect_target(response, url)
            if target is not None:
                return target
            status = response.status_code
            if status in _BUSY:
                self._pacer.hold(origin_of(url), _pause_s(response.headers))
            is_unchanged = status == _NOT_MODIFIED and known is not None
            is_failure = not response.is_success and not is_unchanged
            declared, charset = media.declared_type(response.headers)
            media_type = media.effective_type(declared, split_url(url)[1])
            refusal = None
            if response.is_success:
                refusal = media.refusal(media_type, include_documents=self._spec.include_documents)
            data = b""
            if response.is_success and refusal is None:
                data = await self._client.read(response, self._spec.limits.max_page_bytes)
            name = file_name_of(response)
        if is_failure:
            raise fetch_failed(f"the URI answered with HTTP status {status}", status)
        return _Answer(url, status, response.headers, data, media_type, charset, name, refusal)

    async def _judge(self, entry: Entry, answer: _Answer) -> PageResult:
        if answer.refusal is not None:
            return self._skipped(entry, answer.url, answer.refusal, answer.status)
        known = self._known.get(answer.url)
        if answer.status == _NOT_MODIFIED and known is not None:
            return await self._unchanged(entry, answer, known)
        # Both take time in proportion to the page, which may be large.
        digest = await asyncio.to_thread(_digest, answer.data)
        page, links, skipped = await asyncio.to_thread(self._read_links, answer, entry.depth)
        found = page.directives | directives.header_directives(answer.headers, self._robot)
        if directives.forbids(found, "nofollow"):
            links = ()
        canonical = directives.header_canonical(answer.headers, answer.url) or page.canonical
        if not canonical or self._scope.refusal(canonical, entry.depth) is not None:
            canonical = answer.url
        outcome, reason = Outcome.FETCHED, None
        if directives.forbids(found, "noindex"):
            outcome, reason = Outcome.SKIPPED, SkipReason.NOINDEX
        elif known is not None and known.digest == digest:
            outcome = Outcome.UNCHANGED
        return PageResult(
            url=answer.url,
            requested_url=entry.url,
            depth=entry.depth,
            outcome=outcome,
            canonical_url=canonical,
            status=answer.status,
            skip_reason=reason,
            data=answer.data if outcome is Outcome.FETCHED else b"",
            media_type=answer.media_type,
            charset=answer.charset,
            file_name=answer.file_name,
            etag=answer.headers.get("etag", ""),
            last_modified=answer.headers.get("last-modified", ""),
            digest=digest,
            moved_from=self._moved_from(entry, answer.url),
            links=links,
            skipped_links=skipped,
        )

    async def _unchanged(self, entry: Entry, answer: _Answer, known: KnownPage) -> PageResult:
        links, skipped = await asyncio.to_thread(self._scope.divide, known.links, entry.depth + 1)
        return PageResult(
            url=answer.url,
            requested_url=entry.url,
            depth=entry.depth,
            outcome=Outcome.UNCHANGED,
            canonical_url=known.canonical_url or answer.url,
            status=answer.status,
            etag=answer.headers.get("etag", known.etag),
            last_modified=answer.headers.get("last-modified", known.last_modified),
            digest=known.digest,
            moved_from=self._moved_from(entry, answer.url),
            links=links,
            skipped_links=skipped,
        )

    def _read_links(
        self, answer: _Answer, depth: int
    ) -> tuple[PageLinks, tuple[str, ...], Counter[SkipReason]]:
        if not media.is_html(answer.media_type):
            return PageLinks(), (), Counter()
        page = extract_links(
            answer.data,
            answer.url,
            charset=answer.charset,
            robot=self._robot,
            max_links=self._spec.limits.max_links_per_page,
        )
        links, refused = self._scope.divide(page.links, depth + 1)
        return page, links, page.skipped + refused

    def _skipped(self, entry: Entry, url: str, reason: SkipReason, status: int = 0) -> PageResult:
        return PageResult(
            url=url,
            requested_url=entry.url,
            depth=entry.depth,
            outcome=Outcome.SKIPPED,
            canonical_url=url,
            status=status,
            skip_reason=reason,
            moved_from=self._moved_from(entry, url),
        )

    def _moved_from(self, entry: Entry, url: str) -> str:
        return entry.url if url != entry.url and entry.url in self._known else ""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _pause_s(headers: httpx.Headers) -> float:
    """Return how long a busy host wants to be left alone, within bounds; dates count as a plain "later"."""
    value = headers.get("retry-after", "").strip()
    seconds = float(value) if value.isdecimal() and len(value) < len("1000000") else _BUSY_PAUSE_S
    return min(max(seconds, _BUSY_PAUSE_S), _MAX_BUSY_PAUSE_S)
