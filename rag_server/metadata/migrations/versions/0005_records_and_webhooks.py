"""What jobs left out, and deliveries of webhooks."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    """Add the columns and the table."""
    op.add_column("jobs", sa.Column("item_errors", _JSON, nullable=True))
    op.add_column("jobs", sa.Column("webhook", _JSON, nullable=True))
    op.create_table(
        "webhook_deliveries",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("job_sequence", sa.BigInteger(), nullable=False),
        sa.Column("webhook", _JSON, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt_count", sa.Integer(), nullable=False),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("next_attempt_time", _TIME, nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_webhook_deliveries"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id"],
            ["jobs.tenant_id", "jobs.id"],
            name="fk_webhook_deliveries_jobs",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_webhook_deliveries_tenant_id_job_id", "webhook_deliveries", ["tenant_id", "job_id"])
    op.create_index(
        "ix_webhook_deliveries_state_next_attempt_time", "webhook_deliveries", ["state", "next_attempt_time"]
    )


def downgrade() -> None:
    """Remove them."""
    op.drop_table("webhook_deliveries")
    op.drop_column("jobs", "webhook")
    op.drop_column("jobs", "item_errors")
