"""The tables of assistants; see `tables` for what holds for all."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKeyConstraint, LargeBinary, Text, UniqueConstraint
from sqlmodel import Field

from rag_server.metadata.tables import Row
from rag_server.metadata.types import JsonValue, UtcDateTime


def _of_assistant() -> ForeignKeyConstraint:
    """Return the reference to the assistant; what carries it goes when the assistant goes."""
    return ForeignKeyConstraint(
        ["tenant_id", "assistant_uid"], ["assistants.tenant_id", "assistants.uid"], ondelete="CASCADE"
    )


class AssistantRow(Row, table=True):
    """See `rag_server.domain.assistant.AssistantHead`; what it says stands with its revision."""

    __tablename__ = "assistants"
    __table_args__ = (UniqueConstraint("tenant_id", "uid"),)

    id: str = Field(primary_key=True, sa_type=Text)
    uid: str = Field(sa_type=Text)
    revision: int = Field(sa_type=BigInteger)
    create_time: datetime = Field(sa_type=UtcDateTime)


class AssistantRevisionRow(Row, table=True):
    """See `rag_server.domain.assistant.AssistantProfile`."""

    __tablename__ = "assistant_revisions"
    __table_args__ = (_of_assistant(),)

    assistant_uid: str = Field(primary_key=True, sa_type=Text)
    revision: int = Field(primary_key=True, sa_type=BigInteger)
    display_name: str = Field(sa_type=Text)
    description: str = Field(sa_type=Text)
    instructions: str = Field(sa_type=Text)
    language: str = Field(sa_type=Text)
    collection_ids: list[Any] = Field(sa_type=JsonValue)
    retrieval: bytes = Field(sa_type=LargeBinary)
    generation: bytes = Field(sa_type=LargeBinary)
    keywords: list[Any] = Field(sa_type=JsonValue)
    examples: list[Any] = Field(sa_type=JsonValue)
    create_time: datetime = Field(sa_type=UtcDateTime)


class DefaultAssistantRow(Row, table=True):
    """The one assistant of a tenant that is marked as default: its primary key allows no other."""

    __tablename__ = "default_assistants"
    __table_args__ = (_of_assistant(),)

    assistant_uid: str = Field(sa_type=Text)
