"""Calls to a server under test: a channel, the stubs of all services, and what an error's details say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo, RetryInfo
from grpc_health.v1 import health_pb2_grpc
from grpc_status import rpc_status

from rag.v1 import (
    admin_service_pb2_grpc,
    assistant_service_pb2_grpc,
    collection_service_pb2_grpc,
    conversation_service_pb2_grpc,
    document_service_pb2_grpc,
    generate_service_pb2_grpc,
    ingest_service_pb2_grpc,
    options_pb2,
    retrieve_service_pb2_grpc,
)
from rag.v1 import collection_service_pb2 as collection_pb
from rag.v1 import ingest_service_pb2 as ingest_pb
from rag.v1 import retrieve_service_pb2 as retrieve_pb
from rag_server.app import RunningServer
from rag_server.config import Settings

FINAL = frozenset(
    {
        ingest_pb.JOB_STATE_SUCCEEDED,
        ingest_pb.JOB_STATE_PARTIALLY_SUCCEEDED,
        ingest_pb.JOB_STATE_FAILED,
        ingest_pb.JOB_STATE_CANCELLED,
    }
)


@dataclass(frozen=True, slots=True)
class Failure:
    """An RPC's error, decoded."""

    code: grpc.StatusCode
    message: str
    reason: str
    domain: str
    metadata: dict[str, str]
    violations: dict[str, str]
    """Description by field path."""
    retry_after_s: float | None
    request_id: str


def failure_of(error: grpc.aio.AioRpcError) -> Failure:
    """Return the details of an error; each test of an error thereby checks that it has any."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # has all that is asked of a call
    assert status is not None, f"no google.rpc.Status in {error.code()}: {error.details()}"
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    found: dict[type, Any] = {}
    for detail in status.details:
        for kind in (ErrorInfo, BadRequest, RetryInfo, RequestInfo):
            if detail.Is(kind.DESCRIPTOR):
                found[kind] = message = kind()
                detail.Unpack(message)
    info = found[ErrorInfo]
    bad = found.get(BadRequest, BadRequest())
    retry = found.get(RetryInfo)
    return Failure(
        code=error.code(),
        message=status.message,
        reason=info.reason,
        domain=info.domain,
        metadata=dict(info.metadata),
        violations={each.field: each.description for each in bad.field_violations},
        retry_after_s=None if retry is None else retry.retry_delay.ToTimedelta().total_seconds(),
        request_id=found[RequestInfo].request_id,
    )


async def failure(call: Any) -> Failure:
    """Await a call that has to fail, or read a stream up to its error, and return the error decoded."""
    try:
        if hasattr(call, "read"):
            while await call.read() is not grpc.aio.EOF:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return failure_of(error)
    raise AssertionError("the call succeeded")


async def next_of(call: Any) -> Any:
    """Return the next response of a stream, which has to have one."""
    response = await call.read()
    assert response is not grpc.aio.EOF
    return response


class RagClient:
    """A channel to one server and the stubs of its services."""

    def __init__(self, address: str) -> None:
        # A pool of its own: channels to one address would share a connection, and a test's fault with it.
        self.channel = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self.collections = collection_service_pb2_grpc.CollectionServiceStub(self.channel)
        self.ingest = ingest_service_pb2_grpc.IngestServiceStub(self.channel)
        self.documents = document_service_pb2_grpc.DocumentServiceStub(self.channel)
        self.retrieve = retrieve_service_pb2_grpc.RetrieveServiceStub(self.channel)
        self.generate = generate_service_pb2_grpc.GenerateServiceStub(self.channel)
        self.conversations = conversation_service_pb2_grpc.ConversationServiceStub(self.channel)
        self.assistants = assistant_service_pb2_grpc.AssistantServiceStub(self.channel)
        self.admin = admin_service_pb2_grpc.AdminServiceStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.channel.close()

    async def create_collection(self, collection_id: str, **fields: Any) -> collection_pb.Collection:
        """Make a collection; `fields` are those of the `Collection` message."""
        response = await self.collections.CreateCollection(
            collection_pb.CreateCollectionRequest(
                collection_id=collection_id, collection=collection_pb.Collection(**fields)
            )
        )
        return response.collection

    async def submit(
        self, collection_id: str, text: str = "", document_id: str = "", **fields: Any
    ) -> ingest_pb.Job:
        """Hand in a document; `fields` are those of `IngestDocumentRequest` and of `DocumentSpec`."""
        own = {"data", "uri", "chunking", "request_id", "records", "webhook"}
        spec = {name: value for name, value in fields.items() if name not in own}
        request = ingest_pb.IngestDocumentRequest(
            collection_id=collection_id,
            document=ingest_pb.DocumentSpec(document_id=document_id, **spec),
            **{name: value for name, value in fields.items() if name in own},
        )
        if not request.WhichOneof("source"):
            request.text = text
        return (await self.ingest.IngestDocument(request)).job

    async def end_of(self, job_id: str, *, timeout_s: float = 60.0) -> ingest_pb.Job:
        """Follow a job and return it in its final state."""
        last = None
        async for response in self.ingest.WatchJob(
            ingest_pb.WatchJobRequest(job_id=job_id), timeout=timeout_s
        ):
            last = response.job
        assert last is not None
        assert last.state in FINAL
        return last

    async def ingest_text(
        self, collection_id: str, text: str, document_id: str = "", **fields: Any
    ) -> ingest_pb.Job:
        """Hand in a text and wait until it can be searched."""
        job = await self.end_of((await self.submit(collection_id, text, document_id, **fields)).id)
        assert job.state == ingest_pb.JOB_STATE_SUCCEEDED, job
        return job

    async def search(
        self, collection_ids: str | Sequence[str], query: str, **fields: Any
    ) -> retrieve_pb.RetrieveResponse:
        """Retrieve; `fields` are those of `RetrievalOptions`."""
        ids = [collection_ids] if isinstance(collection_ids, str) else collection_ids
        return await self.retrieve.Retrieve(
            retrieve_pb.RetrieveRequest(
                collection_ids=ids, query=query, options=options_pb2.RetrievalOptions(**fields)
            )
        )


@dataclass(frozen=True, slots=True)
class ServerUnderTest:
    """A running server with a client for it."""

    running: RunningServer
    settings: Settings
    client: RagClient
