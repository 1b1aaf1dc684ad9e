"""A question's turn in its conversation: taken, kept while the answer is written, given back with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog

from rag_server.concurrency import finish
from rag_server.domain.conversation import (
    AnsweredBefore,
    ConversationRef,
    HistoryMessage,
    Summary,
    TurnLease,
)
from rag_server.errors import FailedPrecondition, InvalidArgument, NotFound, RagError
from rag_server.failpoints import step
from rag_server.metadata.database import Database
from rag_server.metadata.turns import turn_lost

log = structlog.get_logger()

RENEWALS_PER_TTL = 3

_REFUSALS = (InvalidArgument, NotFound, FailedPrecondition)
"""What a question gets that can never be answered as it is asked: it was not accepted after all."""


@dataclass(frozen=True, slots=True)
class TurnLimits:
    """How long a turn lasts without a sign of life, and how long a conversation gets."""

    lease_s: float
    max_messages: int


class Turns:
    """Takes turns."""

    def __init__(self, database: Database, limits: TurnLimits) -> None:
        self._database = database
        self._limits = limits

    @asynccontextmanager
    async def take(
        self, tenant_id: str, ref: ConversationRef, question: str, language: str
    ) -> AsyncIterator[HeldTurn | AnsweredBefore]:
        """Hold the turn for the length of the block, or give what the same call was answered before.

        However the block ends, the turn is given back. A question that was refused is taken back with it; one
        whose answer broke off stays. Raises what `TurnRepository.begin` raises.
        """
        begun = await self._begin(tenant_id, ref, question, language)
        if isinstance(begun, AnsweredBefore):
            yield begun
            return
        async with HeldTurn(self._database, begun, self._limits.lease_s) as turn:
            yield turn

    async def _begin(
        self, tenant_id: str, ref: ConversationRef, question: str, language: str
    ) -> TurnLease | AnsweredBefore:
        begun: TurnLease | AnsweredBefore | None = None
        try:
            async with self._database.transaction() as tx:
                begun = await tx.turns.begin(
                    tenant_id,
                    ref,
                    question,
                    language=language,
                    ttl_s=self._limits.lease_s,
                    max_messages=self._limits.max_messages,
                )
        except NotFound as error:
            raise error.in_field("conversation_id") from None
        except BaseException:
            if isinstance(begun, TurnLease):
                # cancelled while it was committed, perhaps: nobody will work on it
                await finish(_release(self._database, begun, is_withdrawn=False))
            raise
        return begun


class HeldTurn:
    """A turn that this process holds, as far as it knows."""

    def __init__(self, database: Database, lease: TurnLease, ttl_s: float) -> None:
        self.lease = lease
        self._database = database
        self._ttl_s = ttl_s
        self._is_recorded = False
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._keeper = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await finish(self._leave(is_withdrawn=isinstance(error, _REFUSALS)))

    def check(self) -> None:
        """Raise `Unavailable` (`CONVERSATION_TURN_LOST`) once another has taken the turn."""
        if self._keeper is not None and self._keeper.done():
            self._keeper.result()

    async def history(self, limit: int) -> Sequence[HistoryMessage]:
        """Return up to `limit` messages that stand before the question, oldest first."""
        lease = self.lease
        async with self._database.snapshot() as tx:
            return await tx.messages.recent(
                lease.tenant_id, lease.conversation_id, before=lease.question_sequence, limit=limit
            )

    async def summary(self, before: int) -> Summary | None:
        """Return what stands for messages before a sequence number; None: nothing does."""
        lease = self.lease
        async with self._database.snapshot() as tx:
            return await tx.summaries.before(lease.tenant_id, lease.conversation_id, before)

    async def record(self, text: str, answer: bytes) -> None:
        """Add the answer to the conversation, if the turn is still ours.

        Raises `NotFound` when the conversation was deleted, `Unavailable` (`CONVERSATION_TURN_LOST`) and what
        the database raises: then nothing of the answer is there.
        """
        with step("record-answer"):
            async with self._database.transaction() as tx:
                await tx.turns.record(self.lease.tenant_id, self.lease, text, answer)
        self._is_recorded = True

    async def _keep(self) -> None:
        """Renew the turn until cancelled. Raises `Unavailable` once it is lost."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._ttl_s
        while True:
            await asyncio.sleep(self._ttl_s / RENEWALS_PER_TTL)
            start = loop.time()
            try:
                async with self._database.transaction() as tx:
                    await tx.turns.renew(self.lease.tenant_id, self.lease, ttl_s=self._ttl_s)
            except RagError as error:
                if error.reason == "CONVERSATION_TURN_LOST":
                    raise
                log.warning("turn cannot be renewed", reason=error.reason)
                if loop.time() >= end:
                    raise turn_lost(self.lease) from error
            else:
                end = start + self._ttl_s

    async def _leave(self, *, is_withdrawn: bool) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError, RagError):  # a turn that was lost has been told of
                await self._keeper
        if not self._is_recorded:
            await _release(self._database, self.lease, is_withdrawn=is_withdrawn)


async def _release(database: Database, lease: TurnLease, *, is_withdrawn: bool) -> None:
    try:
        async with database.transaction() as tx:
            await tx.turns.release(lease.tenant_id, lease, is_withdrawn=is_withdrawn)
    except RagError as error:
        log.warning("turn is left to its end", reason=error.reason)
