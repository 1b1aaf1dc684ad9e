"""`ragctl info` and `ragctl health`: what the server is and how it fares."""

from __future__ import annotations

from typing import Annotated, Any

import grpc
import typer
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from rag.v1 import (
    admin_service_pb2,
    assistant_service_pb2,
    collection_service_pb2,
    conversation_service_pb2,
    document_service_pb2,
    generate_service_pb2,
    ingest_service_pb2,
    retrieve_service_pb2,
)
from rag.v1.admin_service_pb2 import GetServerInfoRequest, GetServerInfoResponse
from rag.v1.admin_service_pb2_grpc import AdminServiceStub
from rag.v1.retriever_pb2 import DenseMethod, LoadSource, RetrieverState
from ragctl.errors import CommandFailed, status_of
from ragctl.exit_codes import ExitCode
from ragctl.moments import shown_time
from ragctl.options import command
from ragctl.output import Output, enum_name, shown_size
from ragctl.session import Session

SERVING = "SERVING"
UNKNOWN_SERVICE = "SERVICE_UNKNOWN"

SERVICES = tuple(
    service.full_name
    for module in (
        collection_service_pb2,
        ingest_service_pb2,
        document_service_pb2,
        retrieve_service_pb2,
        generate_service_pb2,
        conversation_service_pb2,
        assistant_service_pb2,
        admin_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
)
"""Full names of the contract's services."""


def server_info(channel: grpc.Channel, timeout_s: float) -> GetServerInfoResponse:
    """Return what the server says of itself."""
    return AdminServiceStub(channel).GetServerInfo(GetServerInfoRequest(), timeout=timeout_s)


def check_health(channel: grpc.Channel, service: str, timeout_s: float) -> str:
    """Return the health status of a service by name; the empty name is the server as a whole.

    Raises:
        grpc.RpcError: The server did not say.
    """
    try:
        stub: Any = HealthStub(channel)  # the published type stubs leave its methods out
        response = stub.Check(HealthCheckRequest(service=service), timeout=timeout_s)
    except grpc.RpcError as error:
        if status_of(error) is grpc.StatusCode.NOT_FOUND:
            return UNKNOWN_SERVICE
        raise
    return _status_name(response)


def _status_name(response: HealthCheckResponse) -> str:
    return HealthCheckResponse.ServingStatus.Name(response.status)


@command
def info(session: Session) -> None:
    """Show the server's version, models, limits and parts."""
    response = server_info(session.channel, session.unary_timeout_s)
    if session.output.is_json:
        session.output.document(response)
        return
    model, limits = response.embedding_model, response.limits
    session.output.fields(
        [
            ("server", session.options.server),
            ("version", response.version),
            ("started", shown_time(response, "start_time")),
            (
                "embedding model",
                f"{model.id} ({model.dimension} dimensions, window {model.window_tokens} tokens)",
            ),
            ("generators", ", ".join(response.generators)),
            ("rerankers", ", ".join(response.rerankers)),
            ("languages", ", ".join(response.languages)),
            ("formats", ", ".join(response.media_types)),
            ("largest message", f"{limits.message_bytes} bytes"),
            ("largest document", f"{limits.document_bytes} bytes"),
            ("calls at once", str(limits.concurrent_calls)),
            ("waiting jobs", f"{limits.waiting_jobs} at most"),
            ("in one archive", f"{limits.archive_entries} files, {limits.archive_bytes} bytes unpacked"),
            ("open uploads", f"{limits.open_uploads} at most"),
            ("conversations", f"{limits.conversations} at most, of {limits.conversation_messages} messages"),
            ("unfinished jobs", str(response.unfinished_job_count)),
        ]
    )
    session.output.line()
    session.output.table(
        ("part", "state", "checked"),
        [
            (each.name, "works" if each.is_serving else "DOWN", shown_time(each, "check_time"))
            for each in response.components
        ],
    )
    if response.retrievers:
        session.output.line()
        _show_retrievers(session.output, response)
    if response.caches:
        session.output.line()
        _show_caches(session.output, response)


def _show_retrievers(output: Output, response: GetServerInfoResponse) -> None:
    """Show which collections are in memory, and who answered their queries."""
    output.table(
        (
            "=in memory",
            "state",
            ">revision",
            ">chunks",
            ">size",
            ">queries",
            ">by the store",
            "vectors",
            "built from",
            "built",
            "last used",
        ),
        [
            (
                each.collection_id,
                enum_name(RetrieverState, each.state),
                str(each.revision),
                str(each.chunk_count),
                shown_size(each.size_bytes),
                str(each.query_count),
                str(each.store_query_count),
                enum_name(DenseMethod, each.dense_method) if each.HasField("dense_method") else "",
                f"{enum_name(LoadSource, each.load_source)} in {each.build_duration_ms} ms"
                if each.HasField("build_time")
                else "",
                shown_time(each, "build_time"),
                shown_time(each, "last_use_time"),
            )
            for each in response.retrievers
        ],
    )


def _show_caches(output: Output, response: GetServerInfoResponse) -> None:
    output.table(
        ("=cache", ">entries", ">size", ">limit", ">hits", ">misses", ">hit rate"),
        [
            (
                each.name,
                str(each.entry_count),
                shown_size(each.size_bytes),
                shown_size(each.limit_bytes),
                str(each.hit_count),
                str(each.miss_count),
                _rate(each.hit_count, each.miss_count),
            )
            for each in response.caches
        ],
    )


def _rate(hit_count: int, miss_count: int) -> str:
    """Return the share of hits; empty before the first look-up."""
    total = hit_count + miss_count
    return f"{hit_count / total:.0%}" if total else ""


@command
def health(
    session: Session,
    service: Annotated[
        str | None,
        typer.Argument(metavar="[SERVICE]", help="A service such as rag.v1.RetrieveService; all without it."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show each change until interrupted.")] = False,
) -> None:
    """Show the health of the server or of one service; exit code 1 unless everything serves."""
    if watch:
        _watch(session, service or "")
        return
    names = ("", *SERVICES) if service is None else (service,)
    states = [(name, check_health(session.channel, name, session.unary_timeout_s)) for name in names]
    if session.output.is_json:
        session.output.document(
            {"services": [{"service": name, "status": status} for name, status in states]}
        )
    else:
        session.output.table(("service", "status"), [(name or "(server)", status) for name, status in states])
    if any(status != SERVING for _, status in states):
        raise typer.Exit(ExitCode.FAILED)


def _watch(session: Session, service: str) -> None:
    """Show each status that the server sends."""
    stub: Any = HealthStub(session.channel)
    call = stub.Watch(HealthCheckRequest(service=service), timeout=session.stream_timeout_s)
    try:
        for response in call:
            status = _status_name(response)
            if session.output.is_json:
                session.output.json_line({"service": service, "status": status})
            else:
                session.output.line(f"{service or '(server)'} {status}")
    except grpc.RpcError as error:
        if status_of(error) is grpc.StatusCode.UNIMPLEMENTED:
            raise CommandFailed.for_usage("the server has no health watch") from error
        raise
    finally:
        call.cancel()
