"""Idempotency records: same request id and body, same answer."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select
from sqlmodel import col

from rag_server.domain.idempotency import IdempotencyRecord
from rag_server.errors import AlreadyExists, Unavailable
from rag_server.metadata.session import Scope
from rag_server.metadata.tables import IdempotencyRow

IN_PROGRESS = "REQUEST_IN_PROGRESS"
"""The reason that a call gets whose twin, made at the same time, was faster."""


class IdempotencyRepository:
    """Answers by (tenant, method, request id)."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def get(self, tenant_id: str, method: str, request_id: str) -> IdempotencyRecord | None:
        """Return what the call was answered, or None when it was not answered yet."""
        statement = select(IdempotencyRow).where(
            col(IdempotencyRow.tenant_id) == tenant_id,
            col(IdempotencyRow.method) == method,
            col(IdempotencyRow.request_id) == request_id,
        )
        row = (await self._scope.session.scalars(statement)).one_or_none()
        if row is None:
            return None
        return IdempotencyRecord(row.body_hash, row.response, row.create_time)

    async def replay(self, tenant_id: str, method: str, request_id: str, body_hash: str) -> bytes | None:
        """Return the answer to repeat, or None when the call is new.

        Raises `AlreadyExists` (`REQUEST_ID_REUSED`) when the id came with another body before.
        """
        record = await self.get(tenant_id, method, request_id)
        if record is None:
            return None
        if record.body_hash != body_hash:
            raise _reused(request_id)
        return record.response

    async def put(
        self, tenant_id: str, method: str, request_id: str, *, body_hash: str, response: bytes
    ) -> None:
        """Record the answer, in the transaction that does what the call asks.

        Of two calls at once with one request id, only one is carried out. The other raises
        `AlreadyExists` (`REQUEST_ID_REUSED`) when its body differs, else `Unavailable`
        (`REQUEST_IN_PROGRESS`): repeated, it is given the first one's answer.
        """
        row = IdempotencyRow(
            tenant_id=tenant_id,
            method=method,
            request_id=request_id,
            body_hash=body_hash,
            response=response,
            create_time=self._scope.clock(),
        )
        if not await self._scope.insert_if_absent(row):
            await self.replay(tenant_id, method, request_id, body_hash)
            raise Unavailable(
                IN_PROGRESS,
                f"another call with request_id {request_id!r} was answered just now; repeat this one",
                metadata={"request_id": request_id},
                retry_after_s=0.1,
            )

    async def expire(self, before: datetime) -> None:
        """Forget the records of all tenants that are older than `before`."""
        await self._scope.session.execute(
            delete(IdempotencyRow).where(col(IdempotencyRow.create_time) < before)
        )


def _reused(request_id: str) -> AlreadyExists:
    return AlreadyExists(
        "REQUEST_ID_REUSED",
        f"request_id {request_id!r} was used by another request",
        metadata={"request_id": request_id},
    )
