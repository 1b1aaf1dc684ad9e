"""`ragctl assistants`: list, get, create, update, delete, revisions, restore."""

from __future__ import annotations

import json
import sys
import uuid
from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from rag.v1.assistant_pb2 import Assistant, AssistantChoice, AssistantSelection
from rag.v1.assistant_service_pb2 import (
    CreateAssistantRequest,
    DeleteAssistantRequest,
    GetAssistantRequest,
    ListAssistantRevisionsRequest,
    ListAssistantRevisionsResponse,
    ListAssistantsRequest,
    ListAssistantsResponse,
    RestoreAssistantRevisionRequest,
    UpdateAssistantRequest,
)
from rag.v1.assistant_service_pb2_grpc import AssistantServiceStub
from ragctl.assistant_description import Described, described
from ragctl.errors import CommandFailed
from ragctl.moments import shown_time
from ragctl.options import command
from ragctl.output import enum_name, one_line
from ragctl.paging import DEFAULT_LIMIT, All, Limit, PageToken, collect
from ragctl.session import Session

app = typer.Typer(
    help="Make, show, change, delete and restore assistants; `ask --assistant` answers with one.",
    no_args_is_help=True,
)

AssistantId = Annotated[str, typer.Argument(metavar="ASSISTANT", help="The assistant.")]


@app.command("list")
@command
def list_assistants(
    session: Session, limit: Limit = DEFAULT_LIMIT, everything: All = False, page_token: PageToken = ""
) -> None:
    """List the assistants by id."""
    stub = AssistantServiceStub(session.channel)

    def fetch(page_size: int, token: str) -> tuple[list[Assistant], str]:
        request = ListAssistantsRequest(page_size=page_size, page_token=token)
        response = stub.ListAssistants(request, timeout=session.unary_timeout_s)
        return list(response.assistants), response.next_page_token

    items, token = collect(fetch, limit=None if everything else limit, page_token=page_token)
    if session.output.is_json:
        session.output.document(ListAssistantsResponse(assistants=items, next_page_token=token))
        return
    session.output.table(
        ("=id", "default", "collections", ">keywords", ">examples", ">revision", "updated", "description"),
        [
            (
                each.id,
                "yes" if each.is_default else "",
                ", ".join(each.collection_ids),
                str(len(each.keywords)),
                str(len(each.examples)),
                str(each.revision),
                shown_time(each, "update_time"),
                one_line(each.display_name or each.description),
            )
            for each in items
        ],
    )
    if token:
        session.output.note(f"there are more: --all, or --page-token {token}")


@app.command("get")
@command
def get_assistant(session: Session, assistant_id: AssistantId) -> None:
    """Show an assistant."""
    request = GetAssistantRequest(assistant_id=assistant_id)
    response = AssistantServiceStub(session.channel).GetAssistant(request, timeout=session.unary_timeout_s)
    _show(session, response.assistant)


@app.command("create")
@command
@described
def create_assistant(session: Session, *, assistant_id: AssistantId, given: Described) -> None:
    """Make an assistant."""
    request = CreateAssistantRequest(
        assistant_id=assistant_id, assistant=given.assistant, request_id=str(uuid.uuid4())
    )
    stub = AssistantServiceStub(session.channel)
    _show(session, stub.CreateAssistant(request, timeout=session.unary_timeout_s).assistant)


@app.command("update")
@command
@described
def update_assistant(session: Session, *, assistant_id: AssistantId, given: Described) -> None:
    """Change what the options or the file name, and nothing else.

    `retrieval` and `generation` of a file replace all such settings, --sources and --model one each.
    """
    if not given.paths:
        raise CommandFailed.for_usage("name at least one thing to change, such as --instructions")
    request = UpdateAssistantRequest(
        assistant_id=assistant_id,
        assistant=given.assistant,
        update_mask=FieldMask(paths=given.paths),
        request_id=str(uuid.uuid4()),
    )
    stub = AssistantServiceStub(session.channel)
    _show(session, stub.UpdateAssistant(request, timeout=session.unary_timeout_s).assistant)


@app.command("delete")
@command
def delete_assistant(
    session: Session,
    assistant_id: AssistantId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete an assistant with all of its revisions."""
    if not yes:
        if not sys.stdin.isatty():
            raise CommandFailed.for_usage("deleting an assistant without a terminal to ask at needs --yes")
        typer.confirm(f"Delete {assistant_id} and all of its revisions?", abort=True, err=True)
    request = DeleteAssistantRequest(assistant_id=assistant_id, request_id=str(uuid.uuid4()))
    stub = AssistantServiceStub(session.channel)
    response = stub.DeleteAssistant(request, timeout=session.unary_timeout_s)
    if session.output.is_json:
        session.output.document(response)
    else:
        session.output.line(f"deleted {assistant_id}")


@app.command("revisions")
@command
def list_revisions(
    session: Session,
    *,
    assistant_id: AssistantId,
    limit: Limit = DEFAULT_LIMIT,
    everything: All = False,
    page_token: PageToken = "",
) -> None:
    """List the revisions of an assistant that the server keeps, newest first; --json shows all of each."""
    stub = AssistantServiceStub(session.channel)

    def fetch(page_size: int, token: str) -> tuple[list[Assistant], str]:
        request = ListAssistantRevisionsRequest(
            assistant_id=assistant_id, page_size=page_size, page_token=token
        )
        response = stub.ListAssistantRevisions(request, timeout=session.unary_timeout_s)
        return list(response.revisions), response.next_page_token

    items, token = collect(fetch, limit=None if everything else limit, page_token=page_token)
    if session.output.is_json:
        session.output.document(ListAssistantRevisionsResponse(revisions=items, next_page_token=token))
        return
    session.output.table(
        (">revision", "since", "collections", ">keywords", ">examples", "instructions"),
        [
            (
                str(each.revision),
                shown_time(each, "update_time"),
                ", ".join(each.collection_ids),
                str(len(each.keywords)),
                str(len(each.examples)),
                one_line(each.instructions),
            )
            for each in items
        ],
    )
    if token:
        session.output.note(f"there are more: --all, or --page-token {token}")


@app.command("restore")
@command
def restore(
    session: Session,
    assistant_id: AssistantId,
    revision: Annotated[
        int | None,
        typer.Option("--revision", "-r", min=1, help="A kept revision; the one before without it."),
    ] = None,
) -> None:
    """Make a new revision with the content of an earlier one."""
    request = RestoreAssistantRevisionRequest(
        assistant_id=assistant_id, revision=revision, request_id=str(uuid.uuid4())
    )
    stub = AssistantServiceStub(session.channel)
    _show(session, stub.RestoreAssistantRevision(request, timeout=session.unary_timeout_s).assistant)


def shown_choice(choice: AssistantChoice) -> str:
    """Return which assistant answers and why: `hr (keyword "annual leave", 0.50)`."""
    why = enum_name(AssistantSelection, choice.selection)
    if choice.matched:
        why += f" “{one_line(choice.matched)}”"
    if choice.HasField("score"):
        why += f", {choice.score:.2f}"
    return f"{one_line(choice.assistant_id) or 'no assistant'} ({why})"


def _shown_settings(settings: Message) -> str:
    """Return the fields that are set, as JSON; empty for none."""
    data = MessageToDict(settings, preserving_proto_field_name=True)
    return json.dumps(data, ensure_ascii=False) if data else ""


def _show(session: Session, assistant: Assistant) -> None:
    if session.output.is_json:
        session.output.document(assistant)
        return
    session.output.fields(
        [
            ("id", assistant.id),
            ("display name", one_line(assistant.display_name)),
            ("description", one_line(assistant.description)),
            ("instructions", one_line(assistant.instructions)),
            ("language", assistant.language),
            ("collections", ", ".join(assistant.collection_ids)),
            ("retrieval", _shown_settings(assistant.retrieval)),
            ("generation", _shown_settings(assistant.generation)),
            ("keywords", ", ".join(map(one_line, assistant.keywords))),
            ("examples", " | ".join(map(one_line, assistant.examples))),
            ("default", "yes" if assistant.is_default else ""),
            ("revision", str(assistant.revision)),
            ("created", shown_time(assistant, "create_time")),
            ("updated", shown_time(assistant, "update_time")),
        ]
    )
