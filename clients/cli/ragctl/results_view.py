"""Shows the results of a search: a table of places, scores and passages."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from rag.v1.chunk_pb2 import Chunk
from rag.v1.retrieve_service_pb2 import RetrieveResponse
from rag.v1.retrieved_chunk_pb2 import RetrievedChunk, Signals
from ragctl.explanation_view import NO_SIGNAL, leg, reranked
from ragctl.highlight import snippet
from ragctl.output import Output, one_line
from ragctl.places import heading, pages, title

CONTEXT_CHARACTERS = 120
"""What is shown of a chunk beside a result."""


def show_results(output: Output, response: RetrieveResponse, query: str, *, explain: bool) -> None:
    """Write the results for people; `explain` adds what each stage made of them, and chunk ids."""
    if not response.results:
        output.line("nothing found")
        return
    with_rerank = any(each.signals.HasField("rerank") for each in response.results)
    columns = {
        ">#": True,
        ">score": True,
        ">fused": explain,
        ">dense": True,
        ">lexical": True,
        ">rerank": with_rerank,
        "where": True,
        "passage": True,
    }
    rows = [_row(each, query, explain=explain) for each in response.results]
    output.table(
        [name for name, is_shown in columns.items() if is_shown],
        [[row[name] for name, is_shown in columns.items() if is_shown] for row in rows],
    )


def _row(result: RetrievedChunk, query: str, *, explain: bool) -> dict[str, str | Text]:
    signals: Signals = result.signals
    return {
        ">#": str(result.rank),
        ">score": f"{result.score:.5f}",
        ">fused": f"{signals.fused_score:.5f}",
        ">dense": leg(signals.dense) if signals.HasField("dense") else NO_SIGNAL,
        ">lexical": leg(signals.lexical) if signals.HasField("lexical") else NO_SIGNAL,
        ">rerank": reranked(signals.rerank) if signals.HasField("rerank") else NO_SIGNAL,
        "where": _where(result.chunk, explain=explain),
        "passage": _passage(result, query),
    }


def _passage(result: RetrievedChunk, query: str) -> Text:
    """Return the passage between the chunks that surround it in its document."""
    shown = Text()
    for line in _beside(result.context_before, keep_end=True):
        shown.append(f"{line}\n", style="dim")
    shown.append_text(snippet(result.chunk.text, query))
    for line in _beside(result.context_after, keep_end=False):
        shown.append(f"\n{line}", style="dim")
    return shown


def _beside(chunks: Iterable[Chunk], *, keep_end: bool) -> Iterable[str]:
    """Yield the part of each chunk that is nearest to the result."""
    for chunk in chunks:
        text = one_line(chunk.text)
        if len(text) <= CONTEXT_CHARACTERS:
            yield text
        else:
            yield f"…{text[-CONTEXT_CHARACTERS:]}" if keep_end else f"{text[:CONTEXT_CHARACTERS]}…"


def _where(chunk: Chunk, *, explain: bool) -> Text:
    shown = Text(title(chunk), style="bold")
    for fact in (pages(chunk), heading(chunk)):
        if fact:
            shown.append(f"\n{fact}", style="not bold")
    if explain:
        place = f"{chunk.document_id} r{chunk.document_revision} #{chunk.ordinal}"
        shown.append(f"\n{place}\n{chunk.id}", style="not bold dim")
    return shown
