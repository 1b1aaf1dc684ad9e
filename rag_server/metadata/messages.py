"""Messages of conversations: for whoever reads them, and for what a generator is told of them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Row, Select, select, true
from sqlalchemy.orm import aliased
from sqlmodel import col

from rag_server.domain.conversation import HistoryMessage, Role, StoredMessage
from rag_server.metadata.conversation_tables import MessageRow
from rag_server.metadata.session import Scope


class MessageRepository:
    """Messages. `TurnRepository` writes them."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def list(
        self, tenant_id: str, conversation_id: str, *, after: int = 0, limit: int, max_bytes: int
    ) -> list[StoredMessage]:
        """Return messages, oldest first, from after the sequence number on.

        They have `max_bytes` in all at most, but for one, which comes whatever its size is. None for a
        conversation that does not exist.
        """
        of_conversation = (
            col(MessageRow.tenant_id) == tenant_id,
            col(MessageRow.conversation_id) == conversation_id,
        )
        order = col(MessageRow.sequence)
        sizes = await self._scope.session.execute(
            select(order, col(MessageRow.size_bytes))
            .where(*of_conversation, order > after)
            .order_by(order)
            .limit(limit)
        )
        last, total = after, 0
        for sequence, size_bytes in sizes:
            total += size_bytes
            if total > max_bytes and last > after:
                break
            last = sequence
        statement = select(MessageRow).where(*of_conversation, order > after, order <= last).order_by(order)
        return [to_domain(row) for row in await self._scope.session.scalars(statement)]

    async def has_after(self, tenant_id: str, conversation_id: str, sequence: int) -> bool:
        """Return whether there is a message after the sequence number."""
        statement = (
            select(col(MessageRow.sequence))
            .where(
                col(MessageRow.tenant_id) == tenant_id,
                col(MessageRow.conversation_id) == conversation_id,
                col(MessageRow.sequence) > sequence,
            )
            .limit(1)
        )
        return (await self._scope.session.scalars(statement)).one_or_none() is not None

    async def recent(
        self, tenant_id: str, conversation_id: str, *, before: int | None = None, limit: int
    ) -> Sequence[HistoryMessage]:
        """Return the last answered questions before a sequence number and their answers, oldest first.

        Without a number they are the last of all. `limit` is of messages. Questions that were not answered
        are left out: most models take question and answer by turns only.
        """
        order = col(MessageRow.sequence)
        statement = (
            _exchanges(tenant_id, conversation_id)
            .where(_is_before(before))
            .order_by(order.desc())
            .limit(limit // 2)
        )
        found = (await self._scope.session.execute(statement)).all()
        return [message for row in reversed(found) for message in _said(row)]

    async def oldest(
        self, tenant_id: str, conversation_id: str, *, after: int, before: int | None = None, limit: int
    ) -> Sequence[HistoryMessage]:
        """Return the first answered questions after a sequence number and their answers, oldest first.

        They stand before another number, if there is one. `limit` is of messages. Where a question stands is
        where its answer does.
        """
        order = col(MessageRow.sequence)
        statement = (
            _exchanges(tenant_id, conversation_id)
            .where(order > after, _is_before(before))
            .order_by(order)
            .limit(limit // 2)
        )
        found = (await self._scope.session.execute(statement)).all()
        return [message for row in found for message in _said(row)]


def _exchanges(tenant_id: str, conversation_id: str) -> Select[str, int, str, int]:
    """Return what finds text and number of the questions that were answered, and of their answers."""
    question = aliased(MessageRow)
    return (
        select(
            col(question.text),
            col(question.sequence),
            col(MessageRow.text),
            col(MessageRow.sequence),
        )
        .join(
            question,
            (col(question.tenant_id) == col(MessageRow.tenant_id))
            & (col(question.conversation_id) == col(MessageRow.conversation_id))
            & (col(question.id) == col(MessageRow.question_id)),
        )
        .where(
            col(MessageRow.tenant_id) == tenant_id,
            col(MessageRow.conversation_id) == conversation_id,
        )
    )


def _is_before(sequence: int | None) -> ColumnElement[bool]:
    return true() if sequence is None else col(MessageRow.sequence) < sequence


def _said(row: Row[str, int, str, int]) -> tuple[HistoryMessage, HistoryMessage]:
    asked, asked_at, answered, answered_at = row
    return (
        HistoryMessage(Role.USER, asked, asked_at),
        HistoryMessage(Role.ASSISTANT, answered, answered_at),
    )


def to_domain(row: MessageRow) -> StoredMessage:
    """Return a message's row as what it is."""
    return StoredMessage(
        conversation_id=row.conversation_id,
        id=row.id,
        sequence=row.sequence,
        role=Role(row.role),
        text=row.text,
        create_time=row.create_time,
        question_id=row.question_id or "",
        answer=row.answer,
    )
