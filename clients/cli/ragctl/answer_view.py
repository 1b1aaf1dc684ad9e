"""How an answer is shown: its words as they come, its sources, and what it had to go without."""

from __future__ import annotations

from rag.v1.generate_service_pb2 import (
    Citation,
    CitationOrigin,
    GenerationFinished,
    GenerationRetrieved,
    StreamGenerateResponse,
    Usage,
)
from rag.v1.retrieved_chunk_pb2 import RetrievedChunk
from ragctl.answer_notes import show_end, show_start
from ragctl.answer_text import CitedText
from ragctl.moments import shown_timings
from ragctl.output import Output, one_line
from ragctl.places import heading, pages, title
from ragctl.search import degradation_note
from ragctl.session import Session


class AnswerView:
    """Shows an answer as it comes, and keeps what its end is told by.

    `has_markers` says that the answer names its sources itself, by their places.
    """

    def __init__(self, session: Session, *, has_markers: bool = False) -> None:
        self._session = session
        self._output = output = session.output
        self._sources: list[RetrievedChunk] = []
        self._citations: list[Citation] = []
        self._usage = Usage()
        self.finished: GenerationFinished | None = None
        self.text = CitedText(
            output.piece, lambda marker: output.piece(marker, style="cyan"), has_markers=has_markers
        )

    def take(self, event: StreamGenerateResponse) -> None:
        """Show the next event."""
        if event.HasField("finished"):
            self.finished = event.finished
        if event.HasField("gap"):
            self._output.note(f"{event.gap.event_count} events of the answer came too late to be kept")
        if self._output.is_json:
            self._output.json_line(event)
            return
        match event.WhichOneof("event"):
            case "started":
                show_start(self._output, event.started)
            case "retrieved":
                self._sources = list(event.retrieved.sources)
                _show_degradations(self._output, event.retrieved)
            case "delta":
                self.text.add(event.delta.text)
            case "gap":
                self.text.skip_to(event.gap.answer_offset)
            case "citation":
                self._citations.append(event.citation)
                self.text.cite(event.citation)
            case "usage":
                self._usage = event.usage
            case _:
                pass

    def show_end(self, finished: GenerationFinished) -> None:
        """Tell what follows the words of an answer that is finished."""
        output = self._output
        show_end(self._session, finished)
        show_sources(self._session, self._sources, self._citations, self.text.numbers)
        if finished.HasField("prompt") and self._usage != Usage():  # a model that quotes costs nothing
            read, written = self._usage.prompt_token_count, self._usage.answer_token_count
            output.line(f"{one_line(finished.model)}: {read} tokens read, {written} written", style="dim")
        output.line(f"server time {shown_timings(finished.timings)}", style="dim")


def _show_degradations(output: Output, retrieved: GenerationRetrieved) -> None:
    note = degradation_note(retrieved.degradations)
    if note:
        output.line(note, style="yellow")


def show_sources(
    session: Session, sources: list[RetrievedChunk], citations: list[Citation], numbers: dict[int, int]
) -> None:
    """List the cited sources by number: title, page, heading, address, and what was quoted of each."""
    if not numbers:
        return
    session.output.line()
    session.output.line("Sources", style="bold")
    for index, number in numbers.items():
        if not 0 <= index < len(sources):
            session.output.line(f"[{number}] a source that the server did not send")
            continue
        chunk = sources[index].chunk
        facts = [title(chunk), pages(chunk), heading(chunk), one_line(chunk.source_uri)]
        shown = ", ".join(dict.fromkeys(each for each in facts if each))
        session.output.line(f"[{number}] {shown}")
        quotes = [_quoted(each) for each in citations if each.source_index == index and each.quote]
        for quote in dict.fromkeys(quotes):
            session.output.line(f"    {quote}", style="italic")


def _quoted(citation: Citation) -> str:
    """Return the words of the source; those that the server found by itself are marked as alike only."""
    quote = f"“{one_line(citation.quote)}”"
    return f"≈ {quote}" if citation.origin == CitationOrigin.CITATION_ORIGIN_SIMILARITY else quote
