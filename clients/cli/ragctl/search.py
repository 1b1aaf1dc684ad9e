"""`ragctl search`: the passages that answer a query, and why they rank where they do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.text import Text

from rag.v1.filter_pb2 import Filter
from rag.v1.options_pb2 import RetrievalOptions
from rag.v1.retrieve_service_pb2 import RetrieveRequest, RetrieveResponse
from rag.v1.retrieve_service_pb2_grpc import RetrieveServiceStub
from rag.v1.retrieved_chunk_pb2 import Degradation, LegSignal, RetrievedChunk, ScoreScale
from ragctl.errors import CommandFailed
from ragctl.filters import parse_filters
from ragctl.highlight import snippet
from ragctl.moments import shown_timings
from ragctl.options import command
from ragctl.places import heading, pages, title
from ragctl.session import Session

Collections = Annotated[
    list[str], typer.Option("--collection", "-c", help="A collection to search; repeatable.")
]
Filters = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        "-f",
        help="price<500, category=laptops, brand in a,b, year?, or the JSON of a Filter; all have to match.",
    ),
]

DEGRADATIONS: dict[Degradation.ValueType, str] = {
    Degradation.DEGRADATION_LEXICAL_ONLY: "the embedder is down, only words were compared (LEXICAL_ONLY)",
    Degradation.DEGRADATION_DENSE_ONLY: "no word of the query can be looked up, "
    "only vectors were compared (DENSE_ONLY)",
}


def filter_of(texts: list[str] | None) -> Filter | None:
    """Return the filter of the `--filter` options.

    Raises:
        CommandFailed: One of them is not a filter.
    """
    try:
        return parse_filters(texts or ())
    except ValueError as error:
        raise CommandFailed.for_usage(str(error)) from error


def degradation_note(degradations: Iterable[Degradation.ValueType]) -> str:
    """Return what the answer had to go without; empty when nothing was missing."""
    notes = [
        DEGRADATIONS.get(degradation, f"kind {int(degradation)}, unknown to this ragctl")
        for degradation in degradations
    ]
    return f"degraded: {'; '.join(notes)}" if notes else ""


@command
def search(
    session: Session,
    *,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="A question or key words.")],
    collections: Collections,
    top_k: Annotated[
        int | None, typer.Option("--top-k", "-k", help="The greatest number of results.")
    ] = None,
    filters: Filters = None,
    candidates: Annotated[
        int | None, typer.Option("--candidates", help="Candidates that each leg contributes.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Fused scores, chunk ids, revisions and timings too.")
    ] = False,
) -> None:
    """Find the passages that answer a query."""
    request = RetrieveRequest(
        collection_ids=collections,
        query=query,
        options=RetrievalOptions(top_k=top_k, filter=filter_of(filters), candidate_count=candidates),
    )
    stub = RetrieveServiceStub(session.channel)
    response = stub.Retrieve(request, timeout=session.unary_timeout_s)
    if session.output.is_json:
        session.output.document(response)
        return
    _show(session, response, query, explain=explain)


def _show(session: Session, response: RetrieveResponse, query: str, *, explain: bool) -> None:
    output = session.output
    columns = [">#", ">score", ">dense", ">lexical", "where", "passage"]
    if explain:
        columns[2:2] = [">fused"]
    rows = []
    for result in response.results:
        signals = result.signals
        row: list[str | Text] = [
            str(result.rank),
            f"{result.score:.5f}",
            _leg(signals.dense if signals.HasField("dense") else None),
            _leg(signals.lexical if signals.HasField("lexical") else None),
            _where(result, explain=explain),
            snippet(result.chunk.text, query),
        ]
        if explain:
            row.insert(2, f"{signals.fused_score:.5f}")
        rows.append(row)
    if rows:
        output.table(columns, rows)
    else:
        output.line("nothing found")
    note = degradation_note(response.degradations)
    if note:
        output.line(note, style="yellow")
    if explain:
        scale = ScoreScale.Name(response.score_scale).removeprefix("SCORE_SCALE_")
        output.line(f"score scale {scale}; a leg shows rank and score: cosine (dense), BM25 (lexical)")
        revisions = ", ".join(
            f"{each.collection_id} {each.revision}" for each in response.collection_revisions
        )
        output.line(f"revisions searched: {revisions}")
        output.line(f"server time {shown_timings(response.timings)}")


def _leg(signal: LegSignal | None) -> str:
    """Return `rank: score`, or a dash when the leg did not return the chunk."""
    return "-" if signal is None else f"{signal.rank}: {signal.score:.3f}"


def _where(result: RetrievedChunk, *, explain: bool) -> Text:
    chunk = result.chunk
    shown = Text(title(chunk), style="bold")
    for fact in (pages(chunk), heading(chunk)):
        if fact:
            shown.append(f"\n{fact}", style="not bold")
    if explain:
        shown.append(
            f"\n{chunk.document_id} r{chunk.document_revision} #{chunk.ordinal}", style="not bold dim"
        )
    return shown
