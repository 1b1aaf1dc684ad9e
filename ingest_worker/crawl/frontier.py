"""The URLs that wait to be visited, and those that were met."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass

from ingest_worker.crawl.results import SkipReason
from ingest_worker.crawl.spec import CrawlLimits

MAX_FRONTIER_CHARACTERS = 4 << 20


def url_hash(url: str) -> int:
    """Return 64 bits of BLAKE2b: two URLs of one site get the same with a chance of 1 in 10^9 for 200 000."""
    return int.from_bytes(hashlib.blake2b(url.encode(), digest_size=8).digest())


@dataclass(frozen=True, slots=True)
class Entry:
    """A URL to visit."""

    url: str
    depth: int
    attempts: int = 0
    """Times that it was tried before."""


class Frontier:
    """First in, first out by depth; bounded in URLs, in characters, and in URLs ever met."""

    def __init__(self, limits: CrawlLimits) -> None:
        self._limits = limits
        self._levels: dict[int, deque[Entry]] = {}
        self._count = 0
        self._characters = 0
        self.seen: set[int] = set()
        """Hashes of all URLs met, those that were refused too."""
        self.variants: dict[int, int] = {}
        """Hash of a URL without its query: how many with different queries were taken."""

    def __len__(self) -> int:
        return self._count

    def mark(self, url: str) -> bool:
        """Count `url` as met. False: it was already, or no more can be remembered."""
        key = url_hash(url)
        if key in self.seen or len(self.seen) >= self._limits.max_seen_urls:
            return False
        self.seen.add(key)
        return True

    def is_full(self) -> bool:
        """Whether a new URL could be neither remembered nor stored."""
        return (
            self._count >= self._limits.max_frontier_urls
            or self._characters >= MAX_FRONTIER_CHARACTERS
            or len(self.seen) >= self._limits.max_seen_urls
        )

    def has_seen(self, url: str) -> bool:
        """Whether `url` was met before."""
        return url_hash(url) in self.seen

    def offer(self, url: str, depth: int) -> SkipReason | None:
        """Take in a URL that was not met before. Returns why not, if not."""
        if self.is_full():
            return SkipReason.FRONTIER_FULL
        path, mark, _ = url.partition("?")
        if mark:
            key = url_hash(path)
            if self.variants.get(key, 0) >= self._limits.max_query_variants:
                return SkipReason.TOO_MANY_VARIANTS
            self.variants[key] = self.variants.get(key, 0) + 1
        self.mark(url)
        self.put(Entry(url, depth))
        return None

    def put(self, entry: Entry) -> None:
        """Append an entry, whatever the bounds: one that comes back to be tried again."""
        self._levels.setdefault(entry.depth, deque()).append(entry)
        self._count += 1
        self._characters += len(entry.url)

    def depth(self) -> int | None:
        """Return the least depth of those that wait, or None."""
        return min(self._levels, default=None)

    def pop(self) -> Entry:
        """Return the first entry of the least depth. Raises `ValueError` if none waits."""
        depth = min(self._levels)
        level = self._levels[depth]
        entry = level.popleft()
        if not level:
            del self._levels[depth]
        self._count -= 1
        self._characters -= len(entry.url)
        return entry

    def entries(self) -> list[Entry]:
        """Return all that wait, in order."""
        return [entry for depth in sorted(self._levels) for entry in self._levels[depth]]
