"""Turns: one question of a conversation is answered at a time, whichever server answers it.

A turn is taken by compare-and-set on the conversation's row and given back with its answer. Its holder renews
it while it works. One that does not, because it was killed, loses it when the lease is over; its token then
keeps it from recording what it has after all (see `rag_server.domain.lease`).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlmodel import col

from rag_server.domain.conversation import AnsweredBefore, ConversationRef, Role, TurnLease, title_of
from rag_server.domain.ids import new_id
from rag_server.errors import AlreadyExists, ResourceExhausted, Unavailable
from rag_server.metadata.conversation_tables import ConversationRow, MessageRow
from rag_server.metadata.conversations import ConversationRepository
from rag_server.metadata.messages import to_domain
from rag_server.metadata.session import Scope

_LONGEST_RETRY_S = 1.0
"""An answer takes about so long; the lease itself says only when a server that died gives way."""


class TurnRepository:
    """Who answers in which conversation, and what comes of it."""

    def __init__(self, scope: Scope, conversations: ConversationRepository) -> None:
        self._scope = scope
        self._conversations = conversations

    async def begin(
        self,
        tenant_id: str,
        ref: ConversationRef,
        question: str,
        *,
        language: str = "",
        ttl_s: float,
        max_messages: int,
    ) -> TurnLease | AnsweredBefore:
        """Record the question and take the turn; or return what the same call was answered before.

        A question of that call which was not answered moves to the end. Raises `NotFound`, `AlreadyExists`
        (`REQUEST_ID_REUSED`), `Unavailable` (`CONVERSATION_BUSY`) and `ResourceExhausted`
        (`CONVERSATION_FULL`).
        """
        row = await self._conversations.lock(tenant_id, ref.id)
        now = self._scope.clock()
        earlier = await self._asked_before(tenant_id, ref)
        if earlier is not None:
            answer = await self._answer_of(tenant_id, earlier)
            if answer is not None:
                return AnsweredBefore(ref.id, earlier.id, to_domain(answer))
        _check_free(row, now)
        if earlier is not None:
            await self._scope.session.delete(earlier)
            await self._scope.session.flush()
            row.message_count -= 1
        _check_room(row, max_messages)
        message_count = row.message_count
        row.last_sequence += 1
        row.message_count += 1
        row.title = row.title or title_of(question)
        row.language = language or row.language
        row.update_time = now
        row.turn_token, row.turn_expire_time = new_id(), now + timedelta(seconds=ttl_s)
        asked = MessageRow(
            tenant_id=tenant_id,
            conversation_id=ref.id,
            sequence=row.last_sequence,
            id=new_id() if earlier is None else earlier.id,
            role=Role.USER.value,
            text=question,
            size_bytes=len(question.encode()),
            create_time=now,
            request_id=ref.request_id or None,
            body_hash=ref.body_hash or None,
        )
        self._scope.session.add(asked)
        await self._scope.session.flush()
        return TurnLease(
            tenant_id=tenant_id,
            conversation_id=ref.id,
            token=row.turn_token,
            question_id=asked.id,
            question_sequence=asked.sequence,
            answer_id=new_id(),
            message_count=message_count,
        )

    async def renew(self, tenant_id: str, lease: TurnLease, *, ttl_s: float) -> None:
        """Keep the turn, expired or not, which nobody has taken meanwhile.

        Raises `Unavailable` (`CONVERSATION_TURN_LOST`).
        """
        statement = (
            update(ConversationRow)
            .where(
                col(ConversationRow.tenant_id) == tenant_id,
                col(ConversationRow.id) == lease.conversation_id,
                col(ConversationRow.turn_token) == lease.token,
            )
            .values(turn_expire_time=self._scope.clock() + timedelta(seconds=ttl_s))
            .returning(col(ConversationRow.id))
        )
        if (await self._scope.session.scalars(statement)).one_or_none() is None:
            raise turn_lost(lease)

    async def record(self, tenant_id: str, lease: TurnLease, text: str, answer: bytes) -> None:
        """Add the answer and give the turn back.

        Raises `NotFound` when the conversation was deleted meanwhile, and `Unavailable`
        (`CONVERSATION_TURN_LOST`).
        """
        row = await self._conversations.lock(tenant_id, lease.conversation_id)
        if row.turn_token != lease.token:
            raise turn_lost(lease)
        now = self._scope.clock()
        row.last_sequence += 1
        row.message_count += 1
        row.update_time = now
        row.turn_token = row.turn_expire_time = None
        self._scope.session.add(
            MessageRow(
                tenant_id=tenant_id,
                conversation_id=lease.conversation_id,
                sequence=row.last_sequence,
                id=lease.answer_id,
                role=Role.ASSISTANT.value,
                text=text,
                size_bytes=len(text.encode()) + len(answer),
                create_time=now,
                question_id=lease.question_id,
                answer=answer,
            )
        )
        await self._scope.session.flush()

    async def release(self, tenant_id: str, lease: TurnLease, *, is_withdrawn: bool = False) -> None:
        """Give the turn back without an answer; the question stays, unless it `is_withdrawn`.

        Does nothing when the turn is another's by now, or the conversation is gone.
        """
        statement = (
            select(ConversationRow)
            .where(
                col(ConversationRow.tenant_id) == tenant_id,
                col(ConversationRow.id) == lease.conversation_id,
                col(ConversationRow.turn_token) == lease.token,
            )
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        row = (await self._scope.session.scalars(statement)).one_or_none()
        if row is None:
            return
        row.turn_token = row.turn_expire_time = None
        if is_withdrawn:
            await self._withdraw(row, lease)
        await self._scope.session.flush()

    async def release_all(self) -> None:
        """End all turns: for a store that one process has to itself, which has just started."""
        await self._scope.session.execute(
            update(ConversationRow)
            .where(col(ConversationRow.turn_token).is_not(None))
            .values(turn_token=None, turn_expire_time=None)
        )

    async def _withdraw(self, row: ConversationRow, lease: TurnLease) -> None:
        statement = select(MessageRow).where(
            col(MessageRow.tenant_id) == row.tenant_id,
            col(MessageRow.conversation_id) == row.id,
            col(MessageRow.sequence) == lease.question_sequence,
        )
        question = (await self._scope.session.scalars(statement)).one()
        if row.message_count == 1 and row.title == title_of(question.text):
            row.title = ""
        row.message_count -= 1
        await self._scope.session.execute(
            delete(MessageRow).where(
                col(MessageRow.tenant_id) == row.tenant_id,
                col(MessageRow.conversation_id) == row.id,
                col(MessageRow.sequence) == lease.question_sequence,
            )
        )

    async def _asked_before(self, tenant_id: str, ref: ConversationRef) -> MessageRow | None:
        if not ref.request_id:
            return None
        statement = select(MessageRow).where(
            col(MessageRow.tenant_id) == tenant_id,
            col(MessageRow.conversation_id) == ref.id,
            col(MessageRow.request_id) == ref.request_id,
        )
        row = (await self._scope.session.scalars(statement)).one_or_none()
        if row is not None and row.body_hash != ref.body_hash:
            raise AlreadyExists(
                "REQUEST_ID_REUSED",
                f"request_id {ref.request_id!r} was used by another request",
                metadata={"request_id": ref.request_id},
            )
        return row

    async def _answer_of(self, tenant_id: str, question: MessageRow) -> MessageRow | None:
        statement = select(MessageRow).where(
            col(MessageRow.tenant_id) == tenant_id,
            col(MessageRow.conversation_id) == question.conversation_id,
            col(MessageRow.question_id) == question.id,
        )
        return (await self._scope.session.scalars(statement)).one_or_none()


def turn_lost(lease: TurnLease) -> Unavailable:
    """Return the error for a turn that is another's by now."""
    return Unavailable(
        "CONVERSATION_TURN_LOST",
        "the conversation went on without this answer, which is not recorded; ask again",
        metadata={"resource": "conversation", "id": lease.conversation_id},
    )


def _check_free(row: ConversationRow, now: datetime) -> None:
    if row.turn_expire_time is None or row.turn_expire_time <= now:
        return
    left_s = (row.turn_expire_time - now).total_seconds()
    raise Unavailable(
        "CONVERSATION_BUSY",
        f"another question of conversation {row.id!r} is being answered; ask again when it has been",
        metadata={"resource": "conversation", "id": row.id},
        retry_after_s=min(left_s, _LONGEST_RETRY_S),
    )


def _check_room(row: ConversationRow, max_messages: int) -> None:
    if row.message_count + 2 <= max_messages:
        return
    raise ResourceExhausted(
        "CONVERSATION_FULL",
        f"conversation {row.id!r} has as many messages as it may have, {max_messages}: go on in another one",
        metadata={"resource": "conversation", "id": row.id, "limit": str(max_messages)},
    )
