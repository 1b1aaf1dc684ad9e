"""A real server with the standard chain around methods that a test writes.

Requests are `GetJobRequest`, whose `job_id` has rules; responses are `GetJobResponse`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import structlog
from prometheus_client import CollectorRegistry

from rag.v1.ingest_service_pb2 import GetJobRequest, GetJobResponse, Job
from rag_server.config import ServerSettings
from rag_server.interceptors.call import Call
from rag_server.interceptors.order import StandardChain

SERVICE = "rag.v1.TestService"
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")

Behaviour = Callable[[Any, Any], Any]


def request(job_id: str = "a-job") -> GetJobRequest:
    return GetJobRequest(job_id=job_id)


def response(text: str = "") -> GetJobResponse:
    return GetJobResponse(job=Job(id=text))


@dataclass(frozen=True)
class Served:
    """A server under test."""

    channel: grpc.aio.Channel
    chain: StandardChain
    registry: CollectorRegistry
    ends: asyncio.Semaphore

    async def ended(self, count: int = 1) -> None:
        """Wait until `count` more calls are through all interceptors, and logged; their callers do not."""
        for _ in range(count):
            await self.ends.acquire()
        self.chain.access_log.flush()

    def call(
        self, kind: str, given: Any = None, *, service: str = SERVICE, raw: bool = False, **options: Any
    ) -> Any:
        """Start a call of the method that is named like its kind; `raw` sends bytes as they are."""
        make = getattr(self.channel, kind)
        serialize = None if raw else GetJobRequest.SerializeToString
        method = make(
            f"/{service}/{kind}",
            request_serializer=serialize,
            response_deserializer=GetJobResponse.FromString,
        )
        return method(request() if given is None else given, **options)


async def read(call: Any) -> list[GetJobResponse]:
    """Return all responses of a call, whatever its kind."""
    if hasattr(call, "__aiter__"):
        return [each async for each in call]
    return [await call]


async def each_of(*requests: Any) -> AsyncIterator[Any]:
    for given in requests:
        yield given


def requests_of(kind: str, *given: Any) -> Any:
    """Return what a call of `kind` takes: one request or a stream of them."""
    return each_of(*given) if kind.startswith("stream") else given[0]


class Outermost:
    """An interceptor around all others, which says when a call has left them."""

    def __init__(self) -> None:
        self.ends = asyncio.Semaphore(0)

    @contextmanager
    def around(self, call: Call) -> Iterator[None]:
        try:
            yield
        finally:
            self.ends.release()


Serve = Callable[..., Any]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Return a function that serves behaviours by kind; `settings` are those of the server."""
    async with AsyncExitStack() as stack:

        async def start(
            behaviours: dict[str, Behaviour], *, service: str = SERVICE, **settings: Any
        ) -> Served:
            registry = CollectorRegistry()
            chain = StandardChain(ServerSettings(**settings), registry)
            outermost = Outermost()
            chain._interceptors = (outermost, *chain._interceptors)
            server = grpc.aio.server(interceptors=[chain])
            methods = {
                kind: getattr(grpc, f"{kind}_rpc_method_handler")(
                    behaviour,
                    request_deserializer=GetJobRequest.FromString,
                    response_serializer=GetJobResponse.SerializeToString,
                )
                for kind, behaviour in behaviours.items()
            }
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            stack.push_async_callback(server.stop, None)
            channel = grpc.aio.insecure_channel(
                f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
            )
            stack.push_async_callback(channel.close)
            return Served(channel, chain, registry, outermost.ends)

        yield start


@pytest.fixture
def logs() -> Any:
    """Capture what is logged, with the context that goes into each line."""
    capture = structlog.testing.LogCapture()
    before = structlog.get_config()["processors"]
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, capture])
    yield capture.entries
    structlog.configure(processors=before)
