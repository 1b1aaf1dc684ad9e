"""Mutating calls with a `request_id`: the same call again gets the first answer again."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from rag_server.errors import Unavailable
from rag_server.interceptors.call import current_call
from rag_server.metadata.database import Database, Transaction
from rag_server.metadata.idempotency import IN_PROGRESS


class Identified(Protocol):
    """A request message with an optional `request_id`."""

    request_id: str

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes: ...


ResponseT = TypeVar("ResponseT", bound=Message)


class Idempotency:
    """Runs the work of a mutating call in one transaction with the record of its answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def once(
        self,
        request: Identified,
        response_type: type[ResponseT],
        work: Callable[[Transaction], Awaitable[ResponseT]],
    ) -> ResponseT:
        """Return the response of `work`, or the one that the same request got before.

        Raises `AlreadyExists` (`REQUEST_ID_REUSED`) for another request with the id.
        """
        for is_last in (False, True):
            try:
                return await self._attempt(request, response_type, work)
            except Unavailable as error:
                # The same call, made at the same time, was faster and has ended by now: its answer is there.
                if is_last or error.reason != IN_PROGRESS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(
        self,
        request: Identified,
        response_type: type[ResponseT],
        work: Callable[[Transaction], Awaitable[ResponseT]],
    ) -> ResponseT:
        async with self._database.transaction() as tx:
            if not request.request_id:
                return await work(tx)
            earlier = await _replay(tx, request, response_type)
            if earlier is not None:
                return earlier
            response = await work(tx)
            await _record(tx, request, response)
            return response

    async def in_steps(
        self, request: Identified, response_type: type[ResponseT], work: Callable[[], Awaitable[ResponseT]]
    ) -> ResponseT:
        """As `once`, for work of several transactions that goes on where it stopped when it is repeated.

        Only a call that came to its end is recorded. Of two at once, which share the work, one gets
        `Unavailable` (`REQUEST_IN_PROGRESS`), and repeated the other one's answer.
        """
        if not request.request_id:
            return await work()
        async with self._database.snapshot() as tx:
            earlier = await _replay(tx, request, response_type)
        if earlier is not None:
            return earlier
        response = await work()
        async with self._database.transaction() as tx:
            await _record(tx, request, response)
        return response


async def _replay(tx: Transaction, request: Identified, response_type: type[ResponseT]) -> ResponseT | None:
    key, body_hash = _identity(request)
    earlier = await tx.idempotency.replay(*key, body_hash)
    if earlier is None:
        return None
    response = response_type()
    response.ParseFromString(earlier)
    return response


async def _record(tx: Transaction, request: Identified, response: Message) -> None:
    key, body_hash = _identity(request)
    await tx.idempotency.put(*key, body_hash=body_hash, response=response.SerializeToString())


def _identity(request: Identified) -> tuple[tuple[str, str, str], str]:
    call = current_call.get()
    body_hash = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
    return (call.tenant_id, call.method, request.request_id.lower()), body_hash
