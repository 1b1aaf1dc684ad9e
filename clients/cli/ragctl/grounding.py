"""`ragctl check-grounding`: which sentences of a text the documents support."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rag.v1.chunk_pb2 import Chunk
from rag.v1.filter_pb2 import BooleanFilter, ComparisonFilter, ComparisonOperator, Filter
from rag.v1.generate_service_pb2_grpc import GenerateServiceStub
from rag.v1.grounding_pb2 import CheckGroundingRequest, Grounding, SentenceGrounding
from rag.v1.metadata_pb2 import MetadataValue
from ragctl.errors import CommandFailed, Problem
from ragctl.moments import shown_timings
from ragctl.options import command
from ragctl.output import one_line
from ragctl.places import pages, title
from ragctl.search import Filters, filter_of
from ragctl.session import Session

STANDARD_INPUT = "-"
SUPPORTED_FROM = 0.5


@command
def check_grounding(
    session: Session,
    *,
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="The text to check.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Check the text of this file; - is standard input.")
    ] = None,
    collections: Annotated[
        list[str] | None,
        typer.Option("--collection", "-c", metavar="ID", help="Search here; repeat it for several."),
    ] = None,
    document: Annotated[
        str, typer.Option("--document", "-d", metavar="ID", help="Search this document only.")
    ] = "",
    filters: Filters = None,
    passages: Annotated[
        list[str] | None, typer.Option("--passage", "-p", help="Compare with this text instead; repeatable.")
    ] = None,
    chunks: Annotated[
        int | None, typer.Option("--chunks", help="Chunks to find for each sentence.", min=1, max=20)
    ] = None,
    chunk_ids: Annotated[
        list[str] | None,
        typer.Option(
            "--chunk-id", metavar="ID", help="Compare with this chunk of the collection instead; repeatable."
        ),
    ] = None,
    language: Annotated[
        str,
        typer.Option("--language", "-l", help="Language of the text; the text tells without it."),
    ] = "",
    minimum: Annotated[
        float | None,
        typer.Option("--min-grounding", min=0.0, max=1.0, help="Exit with 1 where the score is below this."),
    ] = None,
) -> None:
    """Say for each sentence of a text how likely the documents, or given passages, support it, and where."""
    if (text is None) == (file is None):
        raise CommandFailed.for_usage("give the text as an argument or with --file")
    if bool(collections) == bool(passages):
        raise CommandFailed.for_usage("say what to check against: --collection or --passage")
    if (passages or chunk_ids) and (document or filters or chunks):
        raise CommandFailed.for_usage("--document, --filter and --chunks go with a search of --collection")
    request = CheckGroundingRequest(text=_read(file) if file is not None else text or "", language=language)
    if chunk_ids:
        if collections is None or len(collections) != 1:
            raise CommandFailed.for_usage("--chunk-id needs one --collection, which has the chunks")
        request.chunks.collection_id = collections[0]
        request.chunks.chunk_ids.extend(chunk_ids)
    elif passages:
        request.passages.texts.extend(passages)
    else:
        request.search.collection_ids.extend(collections or ())
        if chunks is not None:
            request.search.chunks_per_sentence = chunks
        wanted = _filter(filters, document)
        if wanted is not None:
            request.search.filter.CopyFrom(wanted)
    stub = GenerateServiceStub(session.channel)
    response = stub.CheckGrounding(request, timeout=session.unary_timeout_s)
    if session.output.is_json:
        session.output.document(response)
    else:
        show_grounding(session, request.text, response.grounding, response.sources)
        session.output.line(f"server time {shown_timings(response.timings)}", style="dim")
    if minimum is not None and response.grounding.score < minimum:
        raise CommandFailed(
            Problem("LOW_GROUNDING", f"the score is {response.grounding.score:.2f}, below {minimum:.2f}")
        )


def show_grounding(session: Session, text: str, grounding: Grounding, sources: Sequence[Chunk]) -> None:
    """Show the sentences of `text` with their scores, what they lack, and their best support."""
    for sentence in grounding.sentences:
        words = one_line(text[sentence.span.start : sentence.span.end])
        session.output.line(f"{_score(sentence)}  {words}", style=_style(sentence))
        missing = ", ".join(one_line(fact.text) for fact in sentence.missing_facts)
        if missing:
            session.output.line(f"      no source has: {missing}", style="red")
        for support in sentence.supports[:1]:
            place = _place(sources, support.source_index)
            session.output.line(f"      “{one_line(support.quote)}”{place}", style="italic")
    show_score(session, grounding)


def show_score(session: Session, grounding: Grounding) -> None:
    """Show the score of a text in one line."""
    judge = f", judged by {one_line(grounding.model)}" if grounding.model else ""
    session.output.line(
        f"grounding {grounding.score:.2f}; {grounding.supported_share:.0%} of the sentences supported{judge}",
        style="bold",
    )


def _filter(filters: list[str] | None, document: str) -> Filter | None:
    """Return what the chunks to find have to match. Raises `CommandFailed`."""
    wanted = filter_of(filters)
    if not document:
        return wanted
    named = Filter(
        comparison=ComparisonFilter(
            field="document_id",
            operator=ComparisonOperator.COMPARISON_OPERATOR_EQUAL,
            value=MetadataValue(string_value=document),
        )
    )
    return named if wanted is None else Filter(boolean=BooleanFilter(must=[named, wanted]))


def _score(sentence: SentenceGrounding) -> str:
    return f"{sentence.score:.2f}" if sentence.HasField("score") else "  - "


def _place(sources: Sequence[Chunk], index: int) -> str:
    """Return where a support stands, in brackets; nothing for a passage of the caller's."""
    if not 0 <= index < len(sources):
        return ""
    shown = ", ".join(each for each in (title(sources[index]), pages(sources[index])) if each)
    return f" ({shown})" if shown else ""


def _style(sentence: SentenceGrounding) -> str:
    if not sentence.HasField("score"):
        return "dim"
    return "green" if sentence.score >= SUPPORTED_FROM else "yellow"


def _read(file: Path) -> str:
    """Return the text of a file. Raises `CommandFailed`."""
    try:
        return sys.stdin.read() if str(file) == STANDARD_INPUT else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed.for_usage(f"{file}: cannot be read as text") from error
