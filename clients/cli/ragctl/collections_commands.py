"""`ragctl collections`: list, get, create, update, delete."""

from __future__ import annotations

import sys
import uuid
from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask

from rag.v1.bm25_pb2 import Bm25
from rag.v1.collection_service_pb2 import (
    Collection,
    CreateCollectionRequest,
    DeleteCollectionRequest,
    GetCollectionRequest,
    ListCollectionsRequest,
    ListCollectionsResponse,
    UpdateCollectionRequest,
)
from rag.v1.collection_service_pb2_grpc import CollectionServiceStub
from rag.v1.metadata_pb2 import MetadataField, MetadataType
from ragctl.chunking_option import ChunkingText, parse_chunking
from ragctl.chunking_option import shown as shown_chunking
from ragctl.errors import CommandFailed
from ragctl.moments import shown_time
from ragctl.options import command
from ragctl.paging import DEFAULT_LIMIT, All, Limit, PageToken, collect
from ragctl.session import Session

app = typer.Typer(help="Make, show, change and delete collections.", no_args_is_help=True)

FIELD_TYPES = {
    "str": MetadataType.METADATA_TYPE_STRING,
    "int": MetadataType.METADATA_TYPE_INTEGER,
    "float": MetadataType.METADATA_TYPE_DOUBLE,
    "bool": MetadataType.METADATA_TYPE_BOOLEAN,
    "time": MetadataType.METADATA_TYPE_TIMESTAMP,
    "list": MetadataType.METADATA_TYPE_STRING_LIST,
}

CollectionId = Annotated[str, typer.Argument(metavar="COLLECTION", help="The collection.")]
DisplayName = Annotated[str | None, typer.Option("--display-name", help="A name for people.")]
Description = Annotated[str | None, typer.Option("--description", help="What the collection holds.")]
Labels = Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A note; repeatable.")]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        metavar="NAME:TYPE",
        help="Declare a metadata field; types: str, int, float, bool, time, list.",
    ),
]


@app.command("list")
@command
def list_collections(
    session: Session, limit: Limit = DEFAULT_LIMIT, everything: All = False, page_token: PageToken = ""
) -> None:
    """List the collections by id."""
    stub = CollectionServiceStub(session.channel)

    def fetch(page_size: int, token: str) -> tuple[list[Collection], str]:
        request = ListCollectionsRequest(page_size=page_size, page_token=token)
        response = stub.ListCollections(request, timeout=session.unary_timeout_s)
        return list(response.collections), response.next_page_token

    items, token = collect(fetch, limit=None if everything else limit, page_token=page_token)
    if session.output.is_json:
        session.output.document(ListCollectionsResponse(collections=items, next_page_token=token))
        return
    session.output.table(
        ("=id", "language", ">documents", ">chunks", ">revision", "updated", "description"),
        [
            (
                each.id,
                each.language,
                str(each.document_count),
                str(each.chunk_count),
                str(each.revision),
                shown_time(each, "update_time"),
                each.display_name or each.description,
            )
            for each in items
        ],
    )
    if token:
        session.output.note(f"there are more: --all, or --page-token {token}")


@app.command("get")
@command
def get_collection(session: Session, collection_id: CollectionId) -> None:
    """Show a collection."""
    request = GetCollectionRequest(collection_id=collection_id)
    response = CollectionServiceStub(session.channel).GetCollection(request, timeout=session.unary_timeout_s)
    _show(session, response.collection)


@app.command("create")
@command
def create_collection(
    session: Session,
    *,
    collection_id: CollectionId,
    language: Annotated[
        str, typer.Option("--language", help="Language of the lexical analyser, such as es; mul without it.")
    ] = "",
    display_name: DisplayName = None,
    description: Description = None,
    chunking: ChunkingText = "",
    bm25_k1: Annotated[
        float | None,
        typer.Option("--bm25-k1", help="How slowly further occurrences of a word stop counting. Fixed then."),
    ] = None,
    bm25_b: Annotated[
        float | None,
        typer.Option("--bm25-b", help="How much a passage's length counts, 0 to 1. Fixed then."),
    ] = None,
    labels: Labels = None,
    fields: Fields = None,
) -> None:
    """Make an empty collection."""
    collection, _ = _described(display_name, description, chunking, labels, fields)
    collection.language = language
    if bm25_k1 is not None or bm25_b is not None:
        collection.bm25.CopyFrom(Bm25(k1=bm25_k1, b=bm25_b))
    request = CreateCollectionRequest(
        collection_id=collection_id, collection=collection, request_id=str(uuid.uuid4())
    )
    stub = CollectionServiceStub(session.channel)
    _show(session, stub.CreateCollection(request, timeout=session.unary_timeout_s).collection)


@app.command("update")
@command
def update_collection(
    session: Session,
    *,
    collection_id: CollectionId,
    display_name: DisplayName = None,
    description: Description = None,
    chunking: ChunkingText = "",
    labels: Labels = None,
    fields: Fields = None,
) -> None:
    """Change what the options name, and nothing else. Labels are replaced as a whole."""
    collection, paths = _described(display_name, description, chunking, labels, fields)
    if not paths:
        raise CommandFailed.for_usage("name at least one thing to change, such as --description")
    request = UpdateCollectionRequest(
        collection_id=collection_id,
        collection=collection,
        update_mask=FieldMask(paths=paths),
        request_id=str(uuid.uuid4()),
    )
    stub = CollectionServiceStub(session.channel)
    _show(session, stub.UpdateCollection(request, timeout=session.unary_timeout_s).collection)


@app.command("delete")
@command
def delete_collection(
    session: Session,
    collection_id: CollectionId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a collection with all of its documents."""
    if not yes:
        if not sys.stdin.isatty():
            raise CommandFailed.for_usage("deleting a collection without a terminal to ask at needs --yes")
        typer.confirm(f"Delete {collection_id} and all of its documents?", abort=True, err=True)
    request = DeleteCollectionRequest(collection_id=collection_id, request_id=str(uuid.uuid4()))
    stub = CollectionServiceStub(session.channel)
    response = stub.DeleteCollection(request, timeout=session.unary_timeout_s)
    if session.output.is_json:
        session.output.document(response)
    else:
        session.output.line(f"deleted {collection_id}")


def _described(
    display_name: str | None,
    description: str | None,
    chunking: str,
    labels: list[str] | None,
    fields: list[str] | None,
) -> tuple[Collection, list[str]]:
    """Return a collection with what was given, and the paths of an update mask for it."""
    collection = Collection(display_name=display_name or "", description=description or "")
    try:
        parsed = parse_chunking(chunking)
        if parsed is not None:
            collection.chunking.CopyFrom(parsed)
    except ValueError as error:
        raise CommandFailed.for_usage(str(error)) from error
    for label in labels or ():
        key, equals, value = label.partition("=")
        if not key or not equals:
            raise CommandFailed.for_usage(f"{label!r} is not KEY=VALUE")
        collection.labels[key] = value
    for field in fields or ():
        name, _, type_name = field.partition(":")
        if not name or type_name not in FIELD_TYPES:
            raise CommandFailed.for_usage(
                f"{field!r} is not NAME:TYPE with a type of {', '.join(FIELD_TYPES)}"
            )
        collection.metadata_fields.append(MetadataField(name=name, type=FIELD_TYPES[type_name]))
    given = {
        "display_name": display_name is not None,
        "description": description is not None,
        "chunking": bool(chunking),
        "labels": bool(labels),
        "metadata_fields": bool(fields),
    }
    return collection, [path for path, is_given in given.items() if is_given]


def _shown_bm25(collection: Collection) -> str:
    """Return the parameters that the server says; empty where it says none."""
    given = [f"{field.name} {value:g}" for field, value in collection.bm25.ListFields()]
    return ", ".join(given)


def _show(session: Session, collection: Collection) -> None:
    if session.output.is_json:
        session.output.document(collection)
        return
    type_names = {number: name for name, number in FIELD_TYPES.items()}
    session.output.fields(
        [
            ("id", collection.id),
            ("display name", collection.display_name),
            ("description", collection.description),
            ("language", collection.language),
            ("embedding model", f"{collection.embedding_model} ({collection.dimension} dimensions)"),
            ("chunking", shown_chunking(collection.chunking)),
            ("bm25", _shown_bm25(collection)),
            ("labels", ", ".join(f"{key}={value}" for key, value in sorted(collection.labels.items()))),
            (
                "metadata",
                ", ".join(
                    f"{each.name}:{type_names.get(each.type, '?')}" for each in collection.metadata_fields
                ),
            ),
            ("documents", str(collection.document_count)),
            ("chunks", str(collection.chunk_count)),
            ("revision", str(collection.revision)),
            ("created", shown_time(collection, "create_time")),
            ("updated", shown_time(collection, "update_time")),
        ]
    )
