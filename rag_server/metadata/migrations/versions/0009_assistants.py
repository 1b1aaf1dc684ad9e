"""Assistants, their revisions, and which one is the default."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "assistants",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_assistants"),
        sa.UniqueConstraint("tenant_id", "uid", name="uq_assistants_tenant_id_uid"),
    )
    op.create_table(
        "assistant_revisions",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("assistant_uid", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("instructions", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("collection_ids", _JSON, nullable=False),
        sa.Column("retrieval", sa.LargeBinary(), nullable=False),
        sa.Column("generation", sa.LargeBinary(), nullable=False),
        sa.Column("keywords", _JSON, nullable=False),
        sa.Column("examples", _JSON, nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "assistant_uid", "revision", name="pk_assistant_revisions"),
        _of_assistant("fk_assistant_revisions_assistants"),
    )
    op.create_table(
        "default_assistants",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("assistant_uid", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_default_assistants"),
        _of_assistant("fk_default_assistants_assistants"),
    )


def _of_assistant(name: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", "assistant_uid"],
        ["assistants.tenant_id", "assistants.uid"],
        name=name,
        ondelete="CASCADE",
    )


def downgrade() -> None:
    """Remove them."""
    op.drop_table("default_assistants")
    op.drop_table("assistant_revisions")
    op.drop_table("assistants")
