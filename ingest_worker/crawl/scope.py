"""Which URLs belong to a crawl."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import httpx

from ingest_worker.crawl.patterns import compile_patterns
from ingest_worker.crawl.results import SkipReason
from ingest_worker.crawl.spec import CrawlSpec
from ingest_worker.crawl.urls import normalize_url, origin_of, split_url


class Scope:
    """The hosts, patterns and depth of a `CrawlSpec`, and what looks like a trap for crawlers."""

    def __init__(self, spec: CrawlSpec) -> None:
        self._limits = spec.limits
        self._include = compile_patterns(spec.include, "include")
        self._exclude = compile_patterns(spec.exclude, "exclude")
        # A host without a port stands for the default port of either scheme.
        given = (f"{scheme}://{host}/" for host in spec.hosts for scheme in ("http", "https"))
        self._origins = {origin_of(normalize_url(url)) for url in given}
        for start in () if spec.hosts else spec.start_urls:
            origin = origin_of(normalize_url(start))
            self._origins.add(origin)
            if origin.startswith("http://") and httpx.URL(origin).port is None:
                self._origins.add(origin.replace("http://", "https://", 1))  # its upgrade

    def has_host(self, url: str) -> bool:
        """Whether the URL's host and port may be visited; `http` may become `https`, never the reverse."""
        return origin_of(url) in self._origins

    def refusal(self, url: str, depth: int) -> SkipReason | None:
        """Return why a normalised URL at `depth` is not to be visited; None: it is."""
        limits = self._limits
        if len(url) > limits.max_url_characters:
            return SkipReason.URL_TOO_LONG
        origin, path, _ = split_url(url)
        if origin not in self._origins:
            return SkipReason.OTHER_HOST
        if depth > limits.max_depth:
            return SkipReason.TOO_DEEP
        if self._is_repetitive(path):
            return SkipReason.REPETITIVE_PATH
        # The caller names the start URLs, and where they redirect to is part of them.
        return None if depth == 0 else self._unwanted(url)

    def _is_repetitive(self, path: str) -> bool:
        segments = [part for part in path.split("/") if part]
        most = max(Counter(segments).values(), default=0)
        return most > self._limits.max_repeated_segments or len(segments) > self._limits.max_path_segments

    def _unwanted(self, url: str) -> SkipReason | None:
        if any(pattern.matches(url) for pattern in self._exclude):
            return SkipReason.EXCLUDED
        if self._include and not any(pattern.matches(url) for pattern in self._include):
            return SkipReason.NOT_INCLUDED
        return None

    def divide(self, urls: Iterable[str], depth: int) -> tuple[tuple[str, ...], Counter[SkipReason]]:
        """Return those of `urls` that belong to the crawl at `depth`, and why the others do not."""
        kept: list[str] = []
        refused: Counter[SkipReason] = Counter()
        for url in urls:
            reason = self.refusal(url, depth)
            if reason is None:
                kept.append(url)
            else:
                refused[reason] += 1
        return tuple(kept), refused
