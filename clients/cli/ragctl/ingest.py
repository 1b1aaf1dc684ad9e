"""`ragctl ingest`: files, folders, addresses and standard input."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import grpc
import typer

from rag.v1.collection_service_pb2 import Collection, CreateCollectionRequest, GetCollectionRequest
from rag.v1.collection_service_pb2_grpc import CollectionServiceStub
from rag.v1.ingest_service_pb2 import Webhook
from ragctl.chunking_option import ChunkingText, parse_chunking
from ragctl.discovery import discover
from ragctl.document_ids import VALID
from ragctl.dry_run import rehearse
from ragctl.errors import UNREACHABLE, CommandFailed, status_of
from ragctl.exit_codes import ExitCode
from ragctl.ingest_progress import Bars, Silence
from ragctl.ingestion import Ingestion, Observer, Outcome
from ragctl.options import command
from ragctl.output import one_line
from ragctl.records_option import (
    FieldOption,
    KeyOption,
    RowsOption,
    SheetOption,
    TemplateOption,
    parse_records,
)
from ragctl.session import Session
from ragctl.sources import FileSource, Source, TextSource, UrlSource
from ragctl.stream_ingestion import StreamIngestion
from ragctl.submission import Submission
from ragctl.typed_values import metadata

STANDARD_INPUT = "-"
MAX_SUCCESSES_SHOWN = 20
MAX_ITEMS_SHOWN = 10


@command
def ingest(
    session: Session,
    *,
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH|URL...", help="Files, folders, http(s) addresses; - is stdin."),
    ],
    collection: Annotated[str, typer.Option("--collection", "-c", help="The collection to ingest into.")],
    create: Annotated[bool, typer.Option("--create", help="Make the collection when there is none.")] = False,
    language: Annotated[
        str, typer.Option("--language", help="Language of the collection that --create makes, such as es.")
    ] = "",
    meta: Annotated[
        list[str] | None,
        typer.Option(
            "--meta", metavar="KEY[:TYPE]=VALUE", help="Metadata; types: str, int, float, bool, time, list."
        ),
    ] = None,
    chunking: ChunkingText = "",
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="Documents in flight.")] = 4,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the documents are searchable.")
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be made of the documents; nothing is written.")
    ] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Send all over one stream, as bulk: for many small documents.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Take files of any ending from folders.")] = False,
    document_id: Annotated[
        str, typer.Option("--id", help="Name of the document, for a single source; - needs it.")
    ] = "",
    title: Annotated[str, typer.Option("--title", help="Title, for a single source.")] = "",
    media_type: Annotated[
        str, typer.Option("--media-type", help="Format, such as text/markdown; detected without it.")
    ] = "",
    records: RowsOption = False,
    template: TemplateOption = "",
    field: FieldOption = None,
    key: KeyOption = "",
    sheet: SheetOption = "",
    webhook: Annotated[
        str, typer.Option("--webhook", metavar="URL", help="Where the server tells the end of each job.")
    ] = "",
    webhook_secret: Annotated[
        str,
        typer.Option("--webhook-secret", metavar="NAME", help="Name of the server's secret that signs it."),
    ] = "",
) -> None:
    """Ingest documents and wait until they are searchable.

    Folders are searched recursively; hidden files, and files of other endings unless --force, are passed
    over. A file becomes the document named by its path below the folder; ingesting it again replaces it.
    """
    try:
        submission = Submission(
            collection_id=collection,
            metadata=metadata(meta or ()),
            chunking=parse_chunking(chunking),
            title=title,
            media_type=media_type,
            records=parse_records(
                is_asked=records, template=template, fields=field or (), key=key, sheet=sheet
            ),
            webhook=_webhook(webhook, webhook_secret),
            unary_timeout_s=session.unary_timeout_s,
            upload_timeout_s=session.stream_timeout_s,
        )
        sources, skipped = _sources(paths, document_id=document_id, force=force)
    except FileNotFoundError as error:
        raise CommandFailed.for_usage(f"there is no file or folder {error.filename!s}") from error
    except ValueError as error:
        raise CommandFailed.for_usage(str(error)) from error
    if len(sources) != 1 and title:
        raise CommandFailed.for_usage("--title needs a single source")
    if dry_run:
        if not rehearse(session, submission, sources):
            raise typer.Exit(ExitCode.PARTLY_FAILED)
        return
    _ensure_collection(session, collection, create=create, language=language)
    if stream:
        outcomes = StreamIngestion(session.channel, submission, waits=wait).run(sources)
    else:
        outcomes = _run_with_bars(session, submission, sources, concurrency=jobs, waits=wait)
    _summarise(session, outcomes, skipped, waited=wait)
    if any(each.problem for each in outcomes):
        is_unreachable = all(each.problem and each.problem.reason == UNREACHABLE for each in outcomes)
        raise typer.Exit(ExitCode.UNREACHABLE if is_unreachable else ExitCode.PARTLY_FAILED)
    if any(each.job and each.job.progress.failed_item_count for each in outcomes):
        raise typer.Exit(ExitCode.PARTLY_FAILED)


def _webhook(url: str, secret_name: str) -> Webhook | None:
    if bool(url) != bool(secret_name):
        raise ValueError("--webhook and --webhook-secret need each other")
    return Webhook(url=url, secret_name=secret_name) if url else None


def _run_with_bars(
    session: Session, submission: Submission, sources: Sequence[Source], *, concurrency: int, waits: bool
) -> list[Outcome]:
    with contextlib.ExitStack() as stack:
        observer: Observer = Silence()
        if sources and session.output.err.is_terminal and not session.output.is_json:
            observer = stack.enter_context(Bars(session.output.err, len(sources)))
        run = Ingestion(session.channel, submission, observer, waits=waits)
        return run.run(sources, concurrency=concurrency) if sources else []


def _sources(given: Sequence[str], *, document_id: str, force: bool) -> tuple[list[Source], Counter[str]]:
    """Return what to ingest and the counts of what was passed over.

    Raises:
        FileNotFoundError: A path does not exist.
        ValueError: The arguments do not go together.
    """
    urls = [each for each in given if each.lower().startswith(("http://", "https://"))]
    paths = [Path(each) for each in given if each not in urls and each != STANDARD_INPUT]
    found = discover(paths, any_ending=force)
    sources: list[Source] = [*found.files, *(UrlSource(url, "") for url in dict.fromkeys(urls))]
    if STANDARD_INPUT in given:
        if not document_id:
            raise ValueError("text from standard input needs a name: --id NAME")
        sources.append(TextSource("standard input", "", _standard_input()))
    if document_id:
        if not VALID.fullmatch(document_id):
            raise ValueError(f"--id {document_id!r} does not match {VALID.pattern}")
        if len(sources) != 1:
            raise ValueError("--id needs a single source")
        sources = [_renamed(sources[0], document_id)]
    return sources, found.skipped


def _renamed(source: Source, document_id: str) -> Source:
    match source:
        case FileSource():
            return FileSource(source.label, document_id, source.path, source.size_bytes)
        case UrlSource():
            return UrlSource(source.label, document_id)
        case TextSource():
            return TextSource(source.label, document_id, source.text)


def _standard_input() -> str:
    try:
        text = sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("standard input is not UTF-8 text; ingest other formats as files") from error
    if not text.strip():
        raise ValueError("standard input is empty")
    return text


def _ensure_collection(session: Session, collection_id: str, *, create: bool, language: str) -> None:
    """Make the collection if it is missing and `create`; else let the server's NOT_FOUND through."""
    stub = CollectionServiceStub(session.channel)
    try:
        stub.GetCollection(GetCollectionRequest(collection_id=collection_id), timeout=session.unary_timeout_s)
    except grpc.RpcError as error:
        if not create or status_of(error) is not grpc.StatusCode.NOT_FOUND:
            raise
        request = CreateCollectionRequest(
            collection_id=collection_id, collection=Collection(language=language) if language else None
        )
        try:
            stub.CreateCollection(request, timeout=session.unary_timeout_s)
        except grpc.RpcError as raced:
            if status_of(raced) is not grpc.StatusCode.ALREADY_EXISTS:
                raise
        session.output.note(f"made the collection {collection_id}")


def _show_left_out(session: Session, outcomes: Sequence[Outcome]) -> None:
    """Say which rows are missing, and why, for the first ones."""
    for each in outcomes:
        count = each.job.progress.failed_item_count if each.job else 0
        if not each.job or not count:
            continue
        session.output.line(f"{one_line(each.source.label)}: {count} left out", style="yellow")
        for error in each.job.item_errors[:MAX_ITEMS_SHOWN]:
            session.output.line(f"  {error.reason}: {one_line(error.message)}")
        if count > MAX_ITEMS_SHOWN:
            session.output.line(f"  ... and {count - MAX_ITEMS_SHOWN} more; `ragctl jobs get {each.job.id}`")


def _summarise(session: Session, outcomes: Sequence[Outcome], skipped: Counter[str], *, waited: bool) -> None:
    output = session.output
    failed = [each for each in outcomes if each.problem]
    fine = [each for each in outcomes if not each.problem]
    if output.is_json:
        output.document(
            {
                "documents": [each.as_dict() for each in outcomes],
                "succeeded_count": len(fine),
                "failed_count": len(failed),
                "skipped_count": skipped.total(),
                "skipped": dict(skipped),
            }
        )
        return
    shown = [*fine[:MAX_SUCCESSES_SHOWN], *failed]
    if shown:
        output.table(
            ("document", "state", ">chunks", "reason", "message"),
            [
                (
                    one_line(each.source.label),
                    each.state,
                    str(each.job.progress.chunk_count) if each.job and not each.problem else "",
                    each.problem.reason if each.problem else "",
                    one_line(each.problem.message) if each.problem else "",
                )
                for each in shown
            ],
        )
    if len(fine) > MAX_SUCCESSES_SHOWN:
        output.line(f"... and {len(fine) - MAX_SUCCESSES_SHOWN} more without a problem")
    _show_left_out(session, outcomes)
    output.line(
        f"{len(fine)} of {len(outcomes)} documents {'searchable' if waited else 'accepted'}, "
        f"{len(failed)} failed, "
        f"{skipped.total()} files passed over",
        style="bold",
    )
    for reason, count in sorted(skipped.items()):
        hint = " (--force takes them)" if "ending" in reason else ""
        output.line(f"  passed over: {count} x {reason}{hint}")
