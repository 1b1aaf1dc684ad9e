"""Crawling a site: breadth-first, polite, bounded, to public addresses only, and resumable."""

from ingest_worker.crawl.crawler import Crawler, CrawlRun
from ingest_worker.crawl.results import Outcome, PageResult, SkipReason, StopReason
from ingest_worker.crawl.spec import CrawlLimits, CrawlSpec, KnownPage
from ingest_worker.crawl.state import CrawlState

__all__ = [
    "CrawlLimits",
    "CrawlRun",
    "CrawlSpec",
    "CrawlState",
    "Crawler",
    "KnownPage",
    "Outcome",
    "PageResult",
    "SkipReason",
    "StopReason",
]
