"""`ragctl ask`: an answer as it is written, its citations, and the passages behind them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

import grpc
import typer

from rag.v1.generate_service_pb2 import (
    Citation,
    CitationOrigin,
    GenerationFinished,
    GenerationRetrieved,
    StreamGenerateRequest,
    StreamGenerateResponse,
)
from rag.v1.generate_service_pb2_grpc import GenerateServiceStub
from rag.v1.options_pb2 import RetrievalOptions
from rag.v1.retrieved_chunk_pb2 import RetrievedChunk
from ragctl.answer_events import answer_events
from ragctl.answer_notes import show_end, show_start
from ragctl.answer_options import (
    Language,
    MaxTokens,
    MinGrounding,
    Model,
    NoCache,
    Sources,
    Temperature,
    answer_options,
)
from ragctl.answer_text import CitedText
from ragctl.errors import UNREACHABLE, CommandFailed, Problem, from_rpc, show, unreachable
from ragctl.moments import shown_timings
from ragctl.options import command
from ragctl.output import Output, one_line
from ragctl.output_options import ChoiceOption, JsonSchemaOption, RegexOption, output_of
from ragctl.places import heading, pages, title
from ragctl.question_options import Expand, ExpandModel, add_question_options
from ragctl.ranking_options import ranked
from ragctl.search import Filters, degradation_note, filter_of
from ragctl.session import Session

DEFAULT_TIMEOUT_S = 300.0
PROMPT = "? "

AskedCollections = Annotated[
    list[str] | None,
    typer.Option(
        "--collection", "-c", help="A collection to answer from; repeatable. Without one, the assistant's."
    ),
]
AssistantName = Annotated[
    str, typer.Option("--assistant", help="The assistant that answers; auto: the one that fits the question.")
]


@command
@ranked
def ask(
    session: Session,
    *,
    collections: AskedCollections = None,
    assistant: AssistantName = "",
    question: Annotated[
        str | None, typer.Argument(metavar="[QUESTION]", help="Without one, questions are read line by line.")
    ] = None,
    filters: Filters = None,
    sources: Sources = None,
    max_tokens: MaxTokens = None,
    language: Language = "",
    model: Model = "",
    temperature: Temperature = None,
    expand: Expand = None,
    expand_model: ExpandModel = "",
    min_grounding: MinGrounding = None,
    json_schema: JsonSchemaOption = None,
    regex: RegexOption = "",
    choices: ChoiceOption = None,
    no_cache: NoCache = False,
    ranking: RetrievalOptions,
) -> None:
    """Answer a question from what was ingested, with citations.

    Without a question, a prompt asks for one after the other until an empty line or Ctrl-D.
    """
    check_place(collections, assistant)
    request = StreamGenerateRequest(
        collection_ids=collections,
        assistant=assistant,
        retrieval=ranking,
        generation=answer_options(max_tokens, language, model, temperature, min_grounding, no_cache=no_cache),
    )
    add_question_options(request.generation, expand, expand_model)
    output = output_of(json_schema, regex, choices)
    if output is not None:
        request.generation.output.CopyFrom(output)
    if sources is not None:
        request.retrieval.top_k = sources
    wanted = filter_of(filters)
    if wanted is not None:
        request.retrieval.filter.CopyFrom(wanted)
    if question is not None:
        request.question = question
        answer(session, request)
        return
    is_terminal = sys.stdin.isatty()
    asked_count = 0
    for line in questions(session, with_prompt=is_terminal):
        asked_count += 1
        request.question = line
        if is_terminal:
            answer_and_go_on(session, request)
        else:
            answer(session, request)
    if not asked_count and not is_terminal:
        raise CommandFailed.for_usage("no question: give one as an argument or on standard input")


def check_place(collections: list[str] | None, assistant: str) -> None:
    """Raise `CommandFailed` when nothing says where to answer from."""
    if not collections and not assistant:
        raise CommandFailed.for_usage("say where to answer from: --collection, or --assistant")


def questions(session: Session, *, with_prompt: bool) -> Iterator[str]:
    """Yield the questions of standard input up to an empty line or its end."""
    while True:
        if with_prompt:
            session.output.err.print(PROMPT, end="", style="bold")
        line = sys.stdin.readline()
        if with_prompt and not line:
            session.output.err.print()  # Ctrl-D leaves the cursor behind the prompt
        if not line.strip():
            return
        yield line.strip()


def answer_and_go_on(session: Session, request: StreamGenerateRequest) -> None:
    """Answer one question at the prompt; a failed call is told and the prompt comes back."""
    try:
        answer(session, request)
    except grpc.RpcError as error:
        problem = from_rpc(error)
        show(session.output, unreachable(session) if problem.reason == UNREACHABLE else problem)
    except CommandFailed as error:
        show(session.output, error.problem)


def answer(session: Session, request: StreamGenerateRequest) -> None:
    """Stream one answer.

    Raises:
        grpc.RpcError: The call failed, perhaps in the middle.
        CommandFailed: The stream ended without `finished`, so that the answer may be cut short.
    """
    output = session.output
    view = _AnswerView(session)
    events = answer_events(
        GenerateServiceStub(session.channel),
        request,
        timeout_s=session.stream_timeout_s or DEFAULT_TIMEOUT_S,
        on_break=lambda: output.note("the connection broke: going on with the answer"),
    )
    try:
        for event in events:
            view.take(event)
    finally:
        events.close()
        if not view.text.is_empty:
            view.text.flush()
            output.line()
    if view.finished is None:
        raise CommandFailed(Problem("ANSWER_BROKEN", "the answer broke off before its end"))
    if not output.is_json:
        show_end(session, view.finished)
        show_sources(session, view.sources, view.citations, view.text.numbers)
        output.line(f"server time {shown_timings(view.finished.timings)}", style="dim")


class _AnswerView:
    """Shows an answer as it comes, and keeps what its end is told by."""

    def __init__(self, session: Session) -> None:
        self._output = output = session.output
        self.sources: list[RetrievedChunk] = []
        self.citations: list[Citation] = []
        self.finished: GenerationFinished | None = None
        self.text = CitedText(output.piece, lambda marker: output.piece(marker, style="cyan"))

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
                self.sources = list(event.retrieved.sources)
                _show_degradations(self._output, event.retrieved)
            case "delta":
                self.text.add(event.delta.text)
            case "gap":
                self.text.skip_to(event.gap.answer_offset)
            case "citation":
                self.citations.append(event.citation)
                self.text.cite(event.citation)
            case _:
                pass


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
