"""Summaries of conversations: what stands for the messages that a generator is no longer told."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlmodel import col

from rag_server.domain.conversation import Role, StoredSummary, Summary
from rag_server.metadata.conversation_tables import MessageRow
from rag_server.metadata.conversations import ConversationRepository
from rag_server.metadata.session import Scope


class SummaryRepository:
    """Summaries, one for a conversation at most. They go with it."""

    def __init__(self, scope: Scope, conversations: ConversationRepository) -> None:
        self._scope = scope
        self._conversations = conversations

    async def get(self, tenant_id: str, conversation_id: str) -> StoredSummary:
        """Return the summary, an empty one where there is none. Raises `NotFound`."""
        row = await self._conversations.row(tenant_id, conversation_id)
        return StoredSummary(row.summary or "", row.summary_sequence or 0)

    async def before(self, tenant_id: str, conversation_id: str, sequence: int) -> Summary | None:
        """Return the summary, counting the messages before `sequence` that it stands for; None: no message.

        Raises `NotFound`.
        """
        stored = await self.get(tenant_id, conversation_id)
        if not stored.text:
            return None
        statement = (
            select(func.count())
            .select_from(MessageRow)
            .where(
                col(MessageRow.tenant_id) == tenant_id,
                col(MessageRow.conversation_id) == conversation_id,
                col(MessageRow.role) == Role.ASSISTANT.value,
                col(MessageRow.sequence) <= stored.sequence,
                col(MessageRow.sequence) < sequence,
            )
        )
        answers = (await self._scope.session.scalars(statement)).one()
        # each with its question; those that were never answered are in no summary
        return Summary(stored.text, 2 * answers) if answers else None

    async def put(
        self, tenant_id: str, conversation_id: str, text: str, sequence: int, *, expected: int
    ) -> bool:
        """Replace the summary that reaches up to `expected`, if it still does; return whether it did.

        The conversation does not count as changed. Raises `NotFound`.
        """
        row = await self._conversations.lock(tenant_id, conversation_id)
        if (row.summary_sequence or 0) != expected:
            return False
        row.summary, row.summary_sequence = text, sequence
        await self._scope.session.flush()
        return True
