"""BM25 parameters of collections, and the log of their changes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    """Add the column and the table.

    The column is added in place: Alembic's batch mode would copy `collections` and drop the old one, and with
    it go all rows that refer to it.
    """
    op.add_column(
        "collections", sa.Column("bm25", _JSON, nullable=False, server_default='{"k1": 1.2, "b": 0.75}')
    )
    op.create_table(
        "collection_changes",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("collection_uid", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("document_revision", sa.BigInteger(), nullable=True),
        sa.Column("chunk_count", sa.BigInteger(), nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "collection_uid", "revision", name="pk_collection_changes"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "collection_uid"],
            ["collections.tenant_id", "collections.uid"],
            name="fk_collection_changes_collections",
            ondelete="CASCADE",
        ),
    )


def downgrade() -> None:
    """Remove both."""
    op.drop_table("collection_changes")
    op.drop_column("collections", "bm25")
