"""Leases of jobs, the outbox, and the priority of a job."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the column and the tables.

    Jobs that are under way have no row in the outbox: they count as stranded, which are put there later.
    """
    op.add_column("jobs", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "job_leases",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("expire_time", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", name="pk_job_leases"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id"],
            ["jobs.tenant_id", "jobs.id"],
            name="fk_job_leases_jobs",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "outbox",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("trace_parent", sa.Text(), nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", name="pk_outbox"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id"],
            ["jobs.tenant_id", "jobs.id"],
            name="fk_outbox_jobs",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_outbox_priority_tenant_id_id", "outbox", ["priority", "tenant_id", "id"])


def downgrade() -> None:
    """Remove them."""
    op.drop_table("outbox")
    op.drop_table("job_leases")
    op.drop_column("jobs", "priority")
