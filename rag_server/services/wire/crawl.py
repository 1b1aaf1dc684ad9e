"""Crawls."""

from __future__ import annotations

from rag.v1 import ingest_service_pb2 as pb
from rag_server.domain.crawl import CrawlRequest
from rag_server.services.wire.metadata import from_map
from rag_server.validation.defaults import value_or_default


def from_crawl_request(request: pb.CrawlSiteRequest) -> CrawlRequest:
    """Return what a caller asks to be crawled."""
    return CrawlRequest(
        start_urls=tuple(request.start_urls),
        hosts=tuple(request.hosts),
        include=tuple(request.include),
        exclude=tuple(request.exclude),
        max_pages=value_or_default(request, "max_pages"),
        max_depth=value_or_default(request, "max_depth"),
        include_documents=request.include_documents,
        ignore_sitemaps=request.ignore_sitemaps,
        delete_gone=request.delete_gone,
        metadata=from_map(request.metadata),
    )
