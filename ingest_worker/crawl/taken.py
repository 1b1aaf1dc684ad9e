"""Which documents a crawl has taken already, under which names and with which content."""

from __future__ import annotations

from dataclasses import replace

from ingest_worker.crawl.frontier import url_hash
from ingest_worker.crawl.results import Outcome, PageResult, SkipReason

_MAX_CONTENT_CHARACTERS = 4 << 20


class TakenPages:
    """The pages taken so far. A document has two names: its canonical URL and where it was found."""

    def __init__(self, count: int, names: set[int], contents: dict[str, str]) -> None:
        self.count = count
        self.names = set(names)
        """Hashes of URLs."""
        self.contents = dict(contents)
        """Digest of each content: the URL that had it first; empty once these URLs are too long together."""
        self._characters = sum(map(len, self.contents.values()))

    def has_name(self, url: str) -> bool:
        """Whether the document of `url` is there already."""
        return url_hash(url) in self.names

    def take(self, page: PageResult) -> PageResult:
        """Count a fetched or unchanged page, or return it as skipped: its document or content is there."""
        names = {url_hash(page.canonical_url), url_hash(page.url)}
        if names & self.names:
            return replace(page, outcome=Outcome.SKIPPED, skip_reason=SkipReason.DUPLICATE_URL, data=b"")
        self.names |= names
        first = self.contents.get(page.digest)
        if first is not None:
            return replace(
                page,
                outcome=Outcome.SKIPPED,
                skip_reason=SkipReason.DUPLICATE_CONTENT,
                duplicate_of=first,
                data=b"",
            )
        if page.digest:
            self._characters += len(page.url)
            self.contents[page.digest] = page.url if self._characters <= _MAX_CONTENT_CHARACTERS else ""
        self.count += 1
        return page
