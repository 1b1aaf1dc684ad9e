"""`ragctl chat`: a conversation that the server keeps, begun or continued."""

from __future__ import annotations

import sys
import uuid
from typing import Annotated

import typer

from rag.v1.conversation_service_pb2 import (
    Conversation,
    CreateConversationRequest,
    GetConversationRequest,
)
from rag.v1.conversation_service_pb2_grpc import ConversationServiceStub
from rag.v1.generate_service_pb2 import StreamGenerateRequest
from ragctl.ask import answer, answer_and_go_on, questions
from ragctl.asking import asked
from ragctl.errors import CommandFailed
from ragctl.options import command
from ragctl.output import one_line
from ragctl.question_options import Rewrite, RewriteModel, add_rewriting
from ragctl.session import Session


@command
@asked
def chat(
    session: Session,
    *,
    question: Annotated[
        str | None, typer.Argument(metavar="[QUESTION]", help="Without one, questions are read line by line.")
    ] = None,
    conversation_id: Annotated[
        str, typer.Option("--conversation", help="The conversation to continue; without it one is begun.")
    ] = "",
    title: Annotated[
        str, typer.Option("--title", help="Title of a new conversation; the first question without it.")
    ] = "",
    rewrite: Rewrite = None,
    rewrite_model: RewriteModel = "",
    request: StreamGenerateRequest,
) -> None:
    """Ask questions that follow each other; the server keeps them and their answers.

    A prompt asks for one after the other until an empty line or Ctrl-D. The end tells how to go on later.
    """
    if conversation_id and title:
        raise CommandFailed.for_usage(
            "--title is for a new conversation; `ragctl conversations rename` changes one"
        )
    add_rewriting(request.generation, rewrite, rewrite_model)
    if question is not None:
        request.conversation_id = _conversation(session, conversation_id, title)
        _ask(session, request, question, goes_on=False)
        _tell_how_to_go_on(session, request.conversation_id)
        return
    is_terminal = sys.stdin.isatty()
    for line in questions(session, with_prompt=is_terminal):
        if not request.conversation_id:  # not before there is something to ask
            request.conversation_id = _conversation(session, conversation_id, title)
        _ask(session, request, line, goes_on=is_terminal)
    if request.conversation_id:
        _tell_how_to_go_on(session, request.conversation_id)
    elif not is_terminal:
        raise CommandFailed.for_usage("no question: give one as an argument or on standard input")


def _conversation(session: Session, conversation_id: str, title: str) -> str:
    """Return the conversation to ask in: the one named, which has to exist, or a new one."""
    stub = ConversationServiceStub(session.channel)
    if conversation_id:
        request = GetConversationRequest(conversation_id=conversation_id)
        found = stub.GetConversation(request, timeout=session.unary_timeout_s).conversation
        session.output.note(f"{one_line(found.title) or found.id}: {found.message_count} messages so far")
        return conversation_id
    create = CreateConversationRequest(conversation=Conversation(title=title), request_id=str(uuid.uuid4()))
    return stub.CreateConversation(create, timeout=session.unary_timeout_s).conversation.id


def _ask(session: Session, request: StreamGenerateRequest, question: str, *, goes_on: bool) -> None:
    request.question = question
    request.request_id = str(uuid.uuid4())
    if goes_on:
        answer_and_go_on(session, request)
    else:
        answer(session, request)


def _tell_how_to_go_on(session: Session, conversation_id: str) -> None:
    session.output.note(f"go on with --conversation {conversation_id}")
