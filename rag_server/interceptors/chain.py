"""The chain that wraps every method of our services, built once per method.

gRPC's interceptors wrap handlers, of which there are four kinds. `Chain` does that once; what goes around
a call is then a plain context manager, whatever the kind (a synchronous one: six asynchronous ones take
longer than a cached answer does). Streams of responses are written through
the context rather than yielded, so that when the caller leaves, everything inside is unwound in the
call's own task, at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing
from typing import Any, Protocol

import grpc
from google.protobuf.message import DecodeError, Message

from rag_server.errors import InvalidArgument, RagError, ResourceExhausted
from rag_server.interceptors.call import Call, current_call
from rag_server.interceptors.errors import abort
from rag_server.interceptors.idle import idle

OUR_SERVICES = "/rag.v1."
"""Health and reflection are answered even when the rest is not: they go around the chain."""


CHECKS_ITSELF = frozenset({"/rag.v1.IngestService/IngestDocuments"})
"""Methods that check the messages of their stream one by one, because a wrong one must not end it."""
STREAM_IDLE_S = 120.0


class Interceptor(Protocol):
    """One concern around a call."""

    def around(self, call: Call) -> AbstractContextManager[None]:
        """Return what to enter before the servicer and leave after it."""
        ...


class TimeBound(Protocol):
    """What ends a call that takes too long: inside all interceptors, since it has to be asynchronous."""

    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        """Return what to enter before the servicer and leave after it."""
        ...


Serve = Callable[[Call, Any], Awaitable[Any]]
"""Works on the request, or the stream of requests, of a call."""

RequestCheck = Callable[[Message], None]
"""Raises `InvalidArgument` for a request message that breaks a rule."""


class Undecodable:
    """Stands in for a request whose bytes are not a message of its type."""


def decode_safely(deserialize: Callable[[bytes], Message]) -> Callable[[bytes], Message | Undecodable]:
    """Wrap a deserialiser: gRPC would answer UNKNOWN to its exceptions, before any interceptor runs."""

    def decode(data: bytes) -> Message | Undecodable:
        try:
            return deserialize(data)
        except (DecodeError, RecursionError):
            return Undecodable()

    return decode


class Chain(grpc.aio.ServerInterceptor):
    """Runs `interceptors` around each call, outermost first, and `check` on each request message.

    One of them, `Errors`, lets nothing but `RagError` out; the call is ended with that.
    """

    def __init__(
        self,
        interceptors: Sequence[Interceptor],
        time_bound: TimeBound,
        check: RequestCheck,
        *,
        max_response_bytes: int,
        stream_idle_s: float = STREAM_IDLE_S,
    ) -> None:
        """`stream_idle_s`: the longest wait for a client to take a response of a stream, in seconds."""
        self._stream_idle_s = stream_idle_s
        self._max_response_bytes = max_response_bytes
        self._interceptors = tuple(interceptors)
        self._time_bound = time_bound
        self._check = check
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the wrapped handler of the method, or None for a method that does not exist."""
        method = handler_call_details.method
        wrapped = self._handlers.get(method)
        if wrapped is not None:
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None or not method.startswith(OUR_SERVICES):
            return handler
        self._handlers[method] = wrapped = self._wrap(handler, method)
        return wrapped

    def _wrap(self, handler: grpc.RpcMethodHandler[Any, Any], method: str) -> grpc.RpcMethodHandler[Any, Any]:
        # Any: the stubs type a handler's members for the synchronous server only.
        inner: Any = (
            handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        )
        is_streaming = handler.request_streaming or handler.response_streaming
        checks = method not in CHECKS_ITSELF

        async def behaviour(incoming: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            call = Call(method, context, is_streaming)
            current_call.set(call)
            try:
                return await around_all(call, incoming)
            except RagError as error:
                await abort(call, error)

        async def serve(call: Call, incoming: Any) -> Any:
            async with self._time_bound.around(call):
                return await answer(incoming, call.context)

        async def answer(incoming: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            stream = handler.request_streaming
            request = self._checked_stream(incoming, checks) if stream else self._checked(incoming)
            if not handler.response_streaming:
                return self._encoded(await inner(request, context))
            async with aclosing(inner(request, context)) as responses:
                async for response in responses:
                    await self._write(context, response)
            return None

        around_all: Serve = serve
        for interceptor in reversed(self._interceptors):
            around_all = _around(interceptor, around_all)
        factory: Callable[..., grpc.RpcMethodHandler[Any, Any]] = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        assert handler.request_deserializer is not None
        return factory(
            behaviour,
            request_deserializer=decode_safely(handler.request_deserializer),
            # a single response comes encoded: its size is not known before, and encoding it is not free
            response_serializer=handler.response_serializer if handler.response_streaming else None,
        )

    def _encoded(self, response: Message) -> bytes:
        """Return what is sent; gRPC would refuse a response that is too large without saying why."""
        encoded = response.SerializeToString()
        if len(encoded) > self._max_response_bytes:
            raise ResourceExhausted(
                "RESPONSE_TOO_LARGE",
                f"the response has more than {self._max_response_bytes} bytes: ask for fewer results",
                metadata={"limit_bytes": str(self._max_response_bytes)},
            )
        return encoded

    async def _write(self, context: grpc.aio.ServicerContext[Any, Any], response: Message) -> None:
        """Send a response of a stream; a client that does not read holds it up until the limit."""
        timer = asyncio.timeout(self._stream_idle_s)
        try:
            async with timer:
                await context.write(response)
        except TimeoutError:
            if not timer.expired():  # another's
                raise
            raise idle(self._stream_idle_s, "took no response") from None

    def _checked(self, request: Message | Undecodable, *, checks: bool = True) -> Message:
        if isinstance(request, Undecodable):
            raise InvalidArgument(
                "UNDECODABLE_REQUEST",
                "the request is not a valid message of this method's type: regenerate the client from the "
                "current protos, and nest filters at most 16 levels deep",
            )
        if checks:
            self._check(request)
        return request

    async def _checked_stream(
        self, requests: AsyncIterator[Message | Undecodable], checks: bool
    ) -> AsyncIterator[Message]:
        async for request in requests:
            yield self._checked(request, checks=checks)


def _around(interceptor: Interceptor, serve: Serve) -> Serve:
    async def wrapped(call: Call, incoming: Any) -> Any:
        with interceptor.around(call):
            return await serve(call, incoming)

    return wrapped
