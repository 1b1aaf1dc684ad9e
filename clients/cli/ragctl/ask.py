"""`ragctl ask`: an answer as it is written, its citations, and the passages behind them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

import grpc
import typer

from rag.v1.generate_service_pb2 import StreamGenerateRequest
from rag.v1.generate_service_pb2_grpc import GenerateServiceStub
from rag.v1.options_pb2 import CITATION_MARKERS_KEPT, CITATION_MARKERS_REMOVED
from ragctl.answer_events import answer_events
from ragctl.answer_view import AnswerView
from ragctl.asking import asked
from ragctl.errors import UNREACHABLE, CommandFailed, Problem, from_rpc, show, unreachable
from ragctl.options import command
from ragctl.session import Session

DEFAULT_TIMEOUT_S = 300.0
PROMPT = "? "


@command
@asked
def ask(
    session: Session,
    *,
    question: Annotated[
        str | None, typer.Argument(metavar="[QUESTION]", help="Without one, questions are read line by line.")
    ] = None,
    request: StreamGenerateRequest,
) -> None:
    """Answer a question from what was ingested, with citations.

    Without a question, a prompt asks for one after the other until an empty line or Ctrl-D.
    """
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
    output, options = session.output, request.generation
    has_markers = options.citation_markers == CITATION_MARKERS_KEPT
    if not output.is_json and not has_markers:  # those of an assistant would stand beside ours
        options.citation_markers = CITATION_MARKERS_REMOVED
    view = AnswerView(session, has_markers=has_markers)
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
        view.show_end(view.finished)
