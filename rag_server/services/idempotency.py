"""Mutating calls with a `request_id`: the same call again gets the first answer again."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from rag_server.interceptors.call import current_call
from rag_server.metadata.database import Database, Transaction


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
        call = current_call.get()
        async with self._database.transaction() as tx:
            if not request.request_id:
                return await work(tx)
            body_hash = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
            key = (call.tenant_id, call.method, request.request_id.lower())
            earlier = await tx.idempotency.replay(*key, body_hash)
            if earlier is not None:
                response = response_type()
                response.ParseFromString(earlier)
                return response
            response = await work(tx)
            await tx.idempotency.put(*key, body_hash=body_hash, response=response.SerializeToString())
            return response
