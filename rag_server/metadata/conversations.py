"""Conversations: what there are, and what they are called."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, func, literal, select, tuple_
from sqlmodel import col

from rag_server.domain.conversation import Conversation
from rag_server.domain.ids import new_id
from rag_server.errors import NotFound, ResourceExhausted
from rag_server.metadata.conversation_tables import ConversationRow
from rag_server.metadata.session import Scope
from rag_server.metadata.types import UtcDateTime

ConversationCursor = tuple[datetime, str]
"""`update_time` and id of the last conversation of a page."""


class ConversationRepository:
    """Conversations of a tenant. Whoever changes one, or its messages, locks it first."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def create(self, tenant_id: str, *, title: str = "", max_count: int) -> Conversation:
        """Create an empty conversation.

        Raises `ResourceExhausted` (`TOO_MANY_CONVERSATIONS`) when the tenant has `max_count` already; calls
        at the same moment may each take the last place.
        """
        if await self.count(tenant_id) >= max_count:
            raise ResourceExhausted(
                "TOO_MANY_CONVERSATIONS",
                f"there are {max_count} conversations already, as many as there may be: delete some",
                metadata={"limit": str(max_count)},
            )
        now = self._scope.clock()
        row = ConversationRow(
            tenant_id=tenant_id,
            id=new_id(),
            title=title,
            language="",
            message_count=0,
            last_sequence=0,
            create_time=now,
            update_time=now,
        )
        self._scope.session.add(row)
        await self._scope.session.flush()
        return _to_domain(row)

    async def count(self, tenant_id: str) -> int:
        """Return how many conversations the tenant has."""
        statement = (
            select(func.count())
            .select_from(ConversationRow)
            .where(col(ConversationRow.tenant_id) == tenant_id)
        )
        return (await self._scope.session.scalars(statement)).one()

    async def get(self, tenant_id: str, conversation_id: str) -> Conversation:
        """Return the conversation. Raises `NotFound`."""
        return _to_domain(await self.row(tenant_id, conversation_id))

    async def list(
        self, tenant_id: str, *, after: ConversationCursor | None = None, limit: int
    ) -> list[Conversation]:
        """Return conversations, the one that was changed last first, from after the cursor on."""
        key = (col(ConversationRow.update_time), col(ConversationRow.id))
        statement = select(ConversationRow).where(col(ConversationRow.tenant_id) == tenant_id)
        if after is not None:
            statement = statement.where(
                tuple_(*key) < tuple_(literal(after[0], UtcDateTime), literal(after[1]))
            )
        statement = statement.order_by(*(column.desc() for column in key)).limit(limit)
        return [_to_domain(row) for row in await self._scope.session.scalars(statement)]

    async def rename(self, tenant_id: str, conversation_id: str, title: str) -> Conversation:
        """Change the title; an empty one is filled by the next question. Raises `NotFound`."""
        row = await self.lock(tenant_id, conversation_id)
        row.title = title
        row.update_time = self._scope.clock()
        await self._scope.session.flush()
        return _to_domain(row)

    async def retitle(self, tenant_id: str, conversation_id: str, title: str, *, expected: str) -> bool:
        """Change the title if it is still `expected`; return whether it was. Raises `NotFound`."""
        row = await self.lock(tenant_id, conversation_id)
        if row.title != expected:
            return False
        row.title = title
        row.update_time = self._scope.clock()
        await self._scope.session.flush()
        return True

    async def delete(self, tenant_id: str, conversation_id: str) -> None:
        """Delete a conversation with its messages. Raises `NotFound`."""
        await self.lock(tenant_id, conversation_id)
        # messages go by their foreign key
        await self._scope.session.execute(
            delete(ConversationRow).where(
                col(ConversationRow.tenant_id) == tenant_id, col(ConversationRow.id) == conversation_id
            )
        )

    async def lock(self, tenant_id: str, conversation_id: str) -> ConversationRow:
        """Return the row, which nobody else changes until this transaction ends. Raises `NotFound`."""
        return await self.row(tenant_id, conversation_id, is_locked=True)

    async def row(self, tenant_id: str, conversation_id: str, *, is_locked: bool = False) -> ConversationRow:
        """Return the row, for other repositories of conversations. Raises `NotFound`."""
        statement = select(ConversationRow).where(
            col(ConversationRow.tenant_id) == tenant_id, col(ConversationRow.id) == conversation_id
        )
        if is_locked:
            statement = statement.with_for_update().execution_options(populate_existing=True)
        row = (await self._scope.session.scalars(statement)).one_or_none()
        if row is None:
            raise NotFound.for_resource("conversation", conversation_id)
        return row


def _to_domain(row: ConversationRow) -> Conversation:
    return Conversation(
        tenant_id=row.tenant_id,
        id=row.id,
        title=row.title,
        language=row.language,
        message_count=row.message_count,
        create_time=row.create_time,
        update_time=row.update_time,
    )
