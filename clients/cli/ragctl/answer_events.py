"""Reads an answer to its end, through a connection that breaks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Final

import grpc

from rag.v1.generate_service_pb2 import StreamGenerateRequest, StreamGenerateResponse
from rag.v1.generate_service_pb2_grpc import GenerateServiceStub
from ragctl.errors import UNREACHABLE, from_rpc
from ragctl.retry import Retry

_BREAKS: Final = frozenset({UNREACHABLE, "STREAM_ELSEWHERE"})
"""Reasons that leave the answer as it is: its server was not reached, but nobody or another one."""

RESUME_WINDOW_MS: Final = 30_000
"""How long the server keeps an answer that nobody reads: longer than all attempts to come back take."""
_SHORTEST_WINDOW_MS: Final = 100
_LEAVE_S: Final = 1.0
"""How long somebody who leaves is kept waiting until the server knows."""


def answer_events(
    stub: GenerateServiceStub,
    question: StreamGenerateRequest,
    *,
    timeout_s: float,
    on_break: Callable[[], None],
    retry: Retry | None = None,
    stop: threading.Event | None = None,
) -> Generator[StreamGenerateResponse, None, None]:
    """Yield the events of an answer; when the connection breaks, go on after the last one.

    Closing the generator, or Ctrl-C, has the model stop.
    `timeout_s` bounds each stream. `on_break` is called before each attempt to go on.

    Raises:
        grpc.RpcError: The call failed, or was broken and could not be resumed.
    """
    retry = retry or Retry()
    stop = stop or threading.Event()
    request = StreamGenerateRequest()
    request.CopyFrom(question)
    request.resume_window_ms = RESUME_WINDOW_MS
    failure_count = 0
    while True:
        call = stub.StreamGenerate(request, timeout=timeout_s)
        try:
            for event in call:
                request.resume_cursor, failure_count = event.cursor, 0
                yield event
        except grpc.RpcError as error:
            problem = from_rpc(error)
            # Where the server that has the answer has told of an error, it would tell of it again.
            if problem.reason not in _BREAKS or not request.resume_cursor:
                raise
            failure_count += 1
            if not retry.pause(failure_count, problem, stop):
                raise
            on_break()
        except (GeneratorExit, KeyboardInterrupt):
            _leave(stub, request)
            raise
        else:
            return
        finally:
            call.cancel()


def _leave(stub: GenerateServiceStub, request: StreamGenerateRequest) -> None:
    """Tell the server that nobody will come back, so that the model does not write on for nobody."""
    if not request.resume_cursor:
        return
    request.resume_window_ms = _SHORTEST_WINDOW_MS
    call = stub.StreamGenerate(request, timeout=_LEAVE_S)
    with suppress(grpc.RpcError):
        next(call, None)
    call.cancel()
