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
    FinishReason,
    GenerationFinished,
    GenerationRetrieved,
    GenerationStarted,
    StreamGenerateRequest,
    StreamGenerateResponse,
)
from rag.v1.generate_service_pb2_grpc import GenerateServiceStub
from rag.v1.options_pb2 import (
    ANSWER_CACHING_BYPASSED,
    ANSWER_CACHING_UNSPECIFIED,
    GenerationOptions,
    RetrievalOptions,
)
from rag.v1.policy_pb2 import FilteredPart, PolicyReport
from rag.v1.retrieved_chunk_pb2 import RetrievedChunk
from ragctl.answer_events import answer_events
from ragctl.answer_text import CitedText
from ragctl.assistants_commands import shown_choice
from ragctl.errors import UNREACHABLE, CommandFailed, Problem, from_rpc, show, unreachable
from ragctl.grounding import show_score
from ragctl.moments import shown_timings
from ragctl.options import command
from ragctl.output import Output, one_line
from ragctl.output_options import ChoiceOption, JsonSchemaOption, RegexOption, output_of
from ragctl.places import heading, pages, title
from ragctl.question_options import Expand, ExpandModel, add_question_options, show_searched
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
    sources: Annotated[
        int | None, typer.Option("--sources", help="Passages that the answer may draw on.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", help="Upper bound of the answer, in tokens.")
    ] = None,
    language: Annotated[
        str, typer.Option("--language", help="Language of fixed phrases; that of the question without it.")
    ] = "",
    model: Annotated[
        str, typer.Option("--model", help="Name or alias of a model; the server's default without it.")
    ] = "",
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="0 to 2: how freely the model chooses its words.")
    ] = None,
    expand: Expand = None,
    expand_model: ExpandModel = "",
    min_grounding: Annotated[
        float | None,
        typer.Option(
            "--min-grounding", help="0 to 1: withhold an answer whose sources support less of it than this."
        ),
    ] = None,
    json_schema: JsonSchemaOption = None,
    regex: RegexOption = "",
    choices: ChoiceOption = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Ask a model, even if it has answered the same before.")
    ] = False,
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
        generation=GenerationOptions(
            max_answer_tokens=max_tokens,
            language=language,
            model=model,
            temperature=temperature,
            output=output_of(json_schema, regex, choices),
            cache=ANSWER_CACHING_BYPASSED if no_cache else ANSWER_CACHING_UNSPECIFIED,
        ),
    )
    add_question_options(request.generation, expand, expand_model)
    if min_grounding is not None:
        request.generation.grounding.min_score = min_grounding
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
        _show_end(session, view.finished)
        show_sources(session, view.sources, view.citations, view.text.numbers)
        output.line(f"server time {shown_timings(view.finished.timings)}", style="dim")


class _AnswerView:
    """Shows an answer as it comes, and keeps what its end is told by."""

    def __init__(self, session: Session) -> None:
        self._session = session
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
                _show_start(self._session, event.started)
                show_searched(self._output, event.started)
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


def _show_start(session: Session, started: GenerationStarted) -> None:
    if started.HasField("assistant"):
        session.output.line(f"assistant {shown_choice(started.assistant)}", style="dim")


def _show_degradations(output: Output, retrieved: GenerationRetrieved) -> None:
    note = degradation_note(retrieved.degradations)
    if note:
        output.line(note, style="yellow")


def _show_end(session: Session, finished: GenerationFinished) -> None:
    note = degradation_note(finished.degradations)
    if note:
        session.output.line(f"{note}: answered by {one_line(finished.model)}", style="yellow")
    if finished.from_cache:
        session.output.line("This answer was given before: --no-cache asks a model again.", style="yellow")
    left_out = len(finished.prompt.left_out_sources)
    if left_out:
        session.output.line(f"{left_out} of the passages did not fit the model's window.", style="yellow")
    if finished.reason == FinishReason.FINISH_REASON_POLICY:
        who = (
            one_line(finished.policy.message) or "the model's provider withheld the answer, or the rest of it"
        )
        session.output.line(f"{who[:1].upper()}{who[1:]}.", style="yellow")
    if finished.policy.redactions:
        session.output.line(f"Replaced by filters: {_replaced(finished.policy)}.", style="yellow")
    if finished.reason == FinishReason.FINISH_REASON_MAX_TOKENS:
        session.output.line("The answer was cut at the limit of --max-tokens.", style="yellow")
    if finished.HasField("grounding"):
        show_score(session, finished.grounding)


def _replaced(policy: PolicyReport) -> str:
    """Return what filters replaced: how many of each kind, and where."""
    parts = FilteredPart.DESCRIPTOR.values_by_number
    return ", ".join(
        f"{each.count} {one_line(each.kind)} in the "
        f"{parts[each.part].name.removeprefix('FILTERED_PART_').lower() if each.part in parts else 'answer'}"
        for each in policy.redactions
    )


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
