"""The tables of conversations; see `tables` for what holds for all."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, LargeBinary, Text, UniqueConstraint
from sqlmodel import Field

from rag_server.metadata.tables import Row
from rag_server.metadata.types import UtcDateTime


class ConversationRow(Row, table=True):
    """See `rag_server.domain.conversation.Conversation`; and whose turn it is."""

    __tablename__ = "conversations"
    __table_args__ = (
        Index(None, "tenant_id", "update_time", "id"),
        # leases are looked for across tenants when the only process starts
        Index(None, "turn_token"),
    )

    id: str = Field(primary_key=True, sa_type=Text)
    title: str = Field(sa_type=Text)
    language: str = Field(sa_type=Text)
    message_count: int
    last_sequence: int = Field(sa_type=BigInteger)
    create_time: datetime = Field(sa_type=UtcDateTime)
    update_time: datetime = Field(sa_type=UtcDateTime)
    turn_token: str | None = Field(default=None, sa_type=Text)
    """Of the question that is being answered; None: there is none."""
    turn_expire_time: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """From when on another question may be answered, whatever became of that one."""
    summary: str | None = Field(default=None, sa_type=Text)
    """See `rag_server.domain.conversation.StoredSummary`; None: there is none."""
    summary_sequence: int | None = Field(default=None, sa_type=BigInteger)


class MessageRow(Row, table=True):
    """See `rag_server.domain.conversation.StoredMessage`."""

    __tablename__ = "messages"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "conversation_id"],
            ["conversations.tenant_id", "conversations.id"],
            ondelete="CASCADE",
        ),
        UniqueConstraint("tenant_id", "conversation_id", "request_id"),
    )

    conversation_id: str = Field(primary_key=True, sa_type=Text)
    sequence: int = Field(primary_key=True, sa_type=BigInteger)
    id: str = Field(sa_type=Text)
    role: str = Field(sa_type=Text)
    text: str = Field(sa_type=Text)
    size_bytes: int = Field(sa_type=BigInteger)
    """Of text and answer, so that a page of messages can be bounded before they are read."""
    create_time: datetime = Field(sa_type=UtcDateTime)
    question_id: str | None = Field(default=None, sa_type=Text)
    """What an answer answers; None: it is a question."""
    answer: bytes | None = Field(default=None, sa_type=LargeBinary)
    request_id: str | None = Field(default=None, sa_type=Text)
    """Of the call that asked the question; None: it gave none."""
    body_hash: str | None = Field(default=None, sa_type=Text)
