"""`ragctl crawl`: a web site becomes documents."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer

from rag.v1.ingest_service_pb2 import CrawlSiteRequest, Job, JobState
from rag.v1.ingest_service_pb2_grpc import IngestServiceStub
from ragctl.chunking_option import ChunkingText, parse_chunking
from ragctl.errors import CommandFailed
from ragctl.exit_codes import ExitCode
from ragctl.job_view import items, show
from ragctl.options import command
from ragctl.session import Session
from ragctl.typed_values import metadata
from ragctl.watching import state_name, watch_job


@command
def crawl(
    session: Session,
    *,
    urls: Annotated[list[str], typer.Argument(metavar="URL...", help="Where to begin.")],
    collection: Annotated[str, typer.Option("--collection", "-c", help="The collection to ingest into.")],
    host: Annotated[
        list[str] | None,
        typer.Option("--host", metavar="HOST[:PORT]", help="May be visited; without it those of the URLs."),
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option("--include", metavar="PATTERN", help="Only such pages: '/docs/*'.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="PATTERN", help="No such pages: '*?print=*'.")
    ] = None,
    max_pages: Annotated[
        int | None, typer.Option("--max-pages", help="Pages at most. Default: 50.", show_default=False)
    ] = None,
    max_depth: Annotated[
        int | None,
        typer.Option("--max-depth", help="Links from a URL at most. Default: 5.", show_default=False),
    ] = None,
    documents: Annotated[bool, typer.Option("--documents", help="Take linked documents (PDF...).")] = False,
    ignore_sitemaps: Annotated[bool, typer.Option("--ignore-sitemaps", help="Read no sitemaps.")] = False,
    delete_gone: Annotated[
        bool, typer.Option("--delete-gone", help="Delete documents of earlier crawls whose pages are gone.")
    ] = False,
    meta: Annotated[
        list[str] | None,
        typer.Option("--meta", metavar="KEY[:TYPE]=VALUE", help="Metadata of each page, as for ingest."),
    ] = None,
    chunking: ChunkingText = "",
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the pages are searchable.")
    ] = True,
) -> None:
    """Crawl a web site; exit code 3 where some pages failed. Of a collection, one crawl runs at a time."""
    try:
        request = CrawlSiteRequest(
            collection_id=collection,
            start_urls=urls,
            hosts=host,
            include=include,
            exclude=exclude,
            max_pages=max_pages,
            max_depth=max_depth,
            include_documents=documents,
            ignore_sitemaps=ignore_sitemaps,
            delete_gone=delete_gone,
            metadata=metadata(meta or ()),
            chunking=parse_chunking(chunking),
            request_id=str(uuid.uuid4()),
        )
    except ValueError as error:
        raise CommandFailed.for_usage(str(error)) from error
    stub = IngestServiceStub(session.channel)
    response = stub.CrawlSite(request, timeout=session.unary_timeout_s)
    if response.is_queued:
        session.output.note("another crawl of the collection is in progress: this one waits for its end")
    job = _followed(session, stub, response.job) if wait else response.job
    show(session, job)
    if wait and job.state == JobState.JOB_STATE_PARTIALLY_SUCCEEDED:
        raise typer.Exit(ExitCode.PARTLY_FAILED)
    if wait and job.state != JobState.JOB_STATE_SUCCEEDED:
        raise typer.Exit(ExitCode.FAILED)


def _followed(session: Session, stub: IngestServiceStub, job: Job) -> Job:
    """Return the job at its end; on the way, say on standard error how far it is."""
    said = ""
    for response in watch_job(stub, job.id, timeout_s=session.stream_timeout_s):
        job = response.job
        now = f"{state_name(job.state)} {items(job)}".strip()
        if now != said and not session.output.is_json:
            session.output.note(now)
        said = now
    return job
