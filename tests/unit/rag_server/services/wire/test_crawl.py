from __future__ import annotations

from rag.v1 import ingest_service_pb2 as pb
from rag_server.domain.crawl import CrawlRequest
from rag_server.services.wire.crawl import from_crawl_request
from rag_server.services.wire.metadata import to_value


def test_crawl_request_says_all_that_a_caller_says() -> None:
    request = pb.CrawlSiteRequest(
        collection_id="books",
        start_urls=["http://a.example/"],
        hosts=["a.example"],
        include=["/docs/*"],
        exclude=["*?x"],
        max_pages=7,
        max_depth=0,
        include_documents=True,
        ignore_sitemaps=True,
        metadata={"year": to_value(1990)},
        delete_gone=True,
    )
    assert from_crawl_request(request) == CrawlRequest(
        start_urls=("http://a.example/",),
        hosts=("a.example",),
        include=("/docs/*",),
        exclude=("*?x",),
        max_pages=7,
        max_depth=0,
        include_documents=True,
        ignore_sitemaps=True,
        delete_gone=True,
        metadata={"year": 1990},
    )


def test_crawl_request_without_bounds_has_the_defaults() -> None:
    request = pb.CrawlSiteRequest(collection_id="books", start_urls=["http://a.example/"])
    assert from_crawl_request(request) == CrawlRequest(("http://a.example/",))
