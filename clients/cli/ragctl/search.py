"""`ragctl search`: the passages that answer a query, and why they rank where they do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from rag.v1.filter_pb2 import Filter
from rag.v1.options_pb2 import RetrievalOptions
from rag.v1.retrieve_service_pb2 import RetrieveRequest, RetrieveResponse
from rag.v1.retrieve_service_pb2_grpc import RetrieveServiceStub
from rag.v1.retrieved_chunk_pb2 import Degradation, ScoreScale
from ragctl.errors import CommandFailed
from ragctl.explanation_view import show_explanation
from ragctl.filters import parse_filters
from ragctl.moments import shown_timings
from ragctl.options import command
from ragctl.output import Output, enum_name
from ragctl.ranking_options import ranked
from ragctl.results_view import show_results
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
    Degradation.DEGRADATION_NO_RERANK: "the results were not reranked, for lack of time or "
    "because the reranker is down (NO_RERANK)",
    Degradation.DEGRADATION_RESIDENT_STALE: "the store is down, what is in memory may be out of date "
    "(RESIDENT_STALE)",
    Degradation.DEGRADATION_FALLBACK_MODEL: "the model that was asked could not answer, another one did "
    "(FALLBACK_MODEL)",
    Degradation.DEGRADATION_NO_EXPANSION: "the question was not expanded: its model could not (NO_EXPANSION)",
    Degradation.DEGRADATION_NO_REWRITE: "rules rewrote the question: its model could not (NO_REWRITE)",
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
@ranked
def search(
    session: Session,
    *,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="A question or key words.")],
    collections: Collections,
    top_k: Annotated[
        int | None, typer.Option("--top-k", "-k", help="The greatest number of results.")
    ] = None,
    filters: Filters = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Why: what each leg saw, weights, chunk ids, revisions, timings."),
    ] = False,
    traces: Annotated[
        list[str] | None,
        typer.Option(
            "--trace", metavar="CHUNK_ID", help="Say where this chunk went; repeatable. Means --explain too."
        ),
    ] = None,
    ranking: RetrievalOptions,
) -> None:
    """Find the passages that answer a query.

    "A phrase" in quotes has to stand in each result, a -word must not.
    """
    request = RetrieveRequest(collection_ids=collections, query=query, options=ranking)
    if top_k is not None:
        request.options.top_k = top_k
    wanted = filter_of(filters)
    if wanted is not None:
        request.options.filter.CopyFrom(wanted)
    is_explained = explain or bool(traces)
    if is_explained:
        request.options.explain.SetInParent()
        request.options.explain.chunk_ids.extend(traces or ())
    stub = RetrieveServiceStub(session.channel)
    response = stub.Retrieve(request, timeout=session.unary_timeout_s)
    if session.output.is_json:
        session.output.document(response)
        return
    show_results(session.output, response, query, explain=is_explained)
    note = degradation_note(response.degradations)
    if note:
        session.output.line(note, style="yellow")
    if is_explained:
        _show_why(session.output, response)


def _show_why(output: Output, response: RetrieveResponse) -> None:
    scale = enum_name(ScoreScale, response.score_scale)
    output.line(f"score scale: {scale}; a leg shows rank and score: cosine (dense), BM25 (lexical)")
    revisions = ", ".join(f"{each.collection_id} {each.revision}" for each in response.collection_revisions)
    output.line(f"revisions searched: {revisions}")
    output.line(f"server time {shown_timings(response.timings)}")
    if response.HasField("explanation"):
        show_explanation(output, response.explanation)
