"""Uploads that can be resumed, and their parts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "uploads",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("collection_uid", sa.Text(), nullable=False),
        sa.Column("collection_id", sa.Text(), nullable=False),
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("document", _JSON, nullable=False),
        sa.Column("chunking", _JSON, nullable=True),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("received_bytes", sa.BigInteger(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column("create_time", _TIME, nullable=False),
        sa.Column("update_time", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_uploads"),
    )
    op.create_index("ix_uploads_update_time", "uploads", ["update_time"])
    op.create_table(
        "upload_parts",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("upload_id", sa.Text(), nullable=False),
        sa.Column("part_offset", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "upload_id", "part_offset", name="pk_upload_parts"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "upload_id"],
            ["uploads.tenant_id", "uploads.id"],
            name="fk_upload_parts_uploads",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_upload_parts_tenant_id_sha256", "upload_parts", ["tenant_id", "sha256"])


def downgrade() -> None:
    """Remove them. The parts' bytes are left to the sweeper, which finds that nothing needs them."""
    op.drop_table("upload_parts")
    op.drop_table("uploads")
