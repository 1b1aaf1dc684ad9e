"""`ragctl conversations`: list, show, rename, delete."""

from __future__ import annotations

import sys
import uuid
from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask

from rag.v1.conversation_pb2 import MessageRole
from rag.v1.conversation_service_pb2 import (
    Conversation,
    DeleteConversationRequest,
    GetConversationRequest,
    ListConversationsRequest,
    ListConversationsResponse,
    ListMessagesRequest,
    Message,
    UpdateConversationRequest,
)
from rag.v1.conversation_service_pb2_grpc import ConversationServiceStub
from ragctl.answer_notes import show_kept
from ragctl.answer_text import CitedText, has_markers
from ragctl.answer_view import show_sources
from ragctl.errors import CommandFailed
from ragctl.moments import shown_time
from ragctl.options import command
from ragctl.output import as_dict, one_line
from ragctl.paging import DEFAULT_LIMIT, All, Limit, PageToken, collect
from ragctl.session import Session

app = typer.Typer(help="Show, rename and delete conversations; `chat` has them.", no_args_is_help=True)

ConversationId = Annotated[str, typer.Argument(metavar="CONVERSATION", help="The conversation.")]


@app.command("list")
@command
def list_conversations(
    session: Session, limit: Limit = DEFAULT_LIMIT, everything: All = False, page_token: PageToken = ""
) -> None:
    """List the conversations, the one that was changed last first."""
    stub = ConversationServiceStub(session.channel)

    def fetch(page_size: int, token: str) -> tuple[list[Conversation], str]:
        request = ListConversationsRequest(page_size=page_size, page_token=token)
        response = stub.ListConversations(request, timeout=session.unary_timeout_s)
        return list(response.conversations), response.next_page_token

    items, token = collect(fetch, limit=None if everything else limit, page_token=page_token)
    if session.output.is_json:
        session.output.document(ListConversationsResponse(conversations=items, next_page_token=token))
        return
    session.output.table(
        ("=id", ">messages", "language", "updated", "title"),
        [
            (
                each.id,
                str(each.message_count),
                each.language,
                shown_time(each, "update_time"),
                one_line(each.title),
            )
            for each in items
        ],
    )
    if token:
        session.output.note(f"there are more: --all, or --page-token {token}")


@app.command("show")
@command
def show(session: Session, conversation_id: ConversationId) -> None:
    """Show a conversation with all of its messages and the sources of its answers."""
    stub = ConversationServiceStub(session.channel)
    request = GetConversationRequest(conversation_id=conversation_id)
    conversation = stub.GetConversation(request, timeout=session.unary_timeout_s).conversation

    def fetch(page_size: int, token: str) -> tuple[list[Message], str]:
        request = ListMessagesRequest(conversation_id=conversation_id, page_size=page_size, page_token=token)
        response = stub.ListMessages(request, timeout=session.unary_timeout_s)
        return list(response.messages), response.next_page_token

    messages, _ = collect(fetch, limit=None)
    if session.output.is_json:
        shown = {"conversation": as_dict(conversation), "messages": [as_dict(each) for each in messages]}
        session.output.document(shown)
        return
    _show_conversation(session, conversation)
    for message in messages:
        session.output.line()
        _show_message(session, message)


@app.command("rename")
@command
def rename(
    session: Session,
    conversation_id: ConversationId,
    title: Annotated[str, typer.Argument(metavar="TITLE", help="The new title; empty: the next question's.")],
) -> None:
    """Give a conversation another title."""
    request = UpdateConversationRequest(
        conversation_id=conversation_id,
        conversation=Conversation(title=title),
        update_mask=FieldMask(paths=["title"]),
        request_id=str(uuid.uuid4()),
    )
    stub = ConversationServiceStub(session.channel)
    conversation = stub.UpdateConversation(request, timeout=session.unary_timeout_s).conversation
    if session.output.is_json:
        session.output.document(conversation)
    else:
        _show_conversation(session, conversation)


@app.command("delete")
@command
def delete(
    session: Session,
    conversation_id: ConversationId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a conversation with all of its messages."""
    if not yes:
        if not sys.stdin.isatty():
            raise CommandFailed.for_usage("deleting a conversation without a terminal to ask at needs --yes")
        typer.confirm(f"Delete {conversation_id} and all of its messages?", abort=True, err=True)
    request = DeleteConversationRequest(conversation_id=conversation_id, request_id=str(uuid.uuid4()))
    stub = ConversationServiceStub(session.channel)
    response = stub.DeleteConversation(request, timeout=session.unary_timeout_s)
    if session.output.is_json:
        session.output.document(response)
    else:
        session.output.line(f"deleted {conversation_id}")


def _show_conversation(session: Session, conversation: Conversation) -> None:
    session.output.fields(
        [
            ("id", conversation.id),
            ("title", one_line(conversation.title)),
            ("language", conversation.language),
            ("messages", str(conversation.message_count)),
            ("created", shown_time(conversation, "create_time")),
            ("updated", shown_time(conversation, "update_time")),
        ]
    )


def _show_message(session: Session, message: Message) -> None:
    """Write a question as it was asked, an answer as `ask` would, with what was told of it."""
    output = session.output
    if message.role == MessageRole.MESSAGE_ROLE_USER:
        output.line(f"? {message.text}", style="bold")
        return
    citations = list(message.answer.citations)
    text = CitedText(
        output.piece,
        lambda marker: output.piece(marker, style="cyan"),
        has_markers=has_markers(message.text, citations),
    )
    text.add(message.text)
    for citation in citations:
        text.cite(citation)
    text.flush()
    output.line()
    show_kept(session, message.answer)
    show_sources(session, list(message.answer.sources), citations, text.numbers)
