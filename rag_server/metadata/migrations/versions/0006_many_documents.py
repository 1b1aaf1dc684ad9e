"""Jobs of many documents: archives and crawls, their items, and the pages of the last crawl."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
_TEXTS = (("kind", "document"), ("parent_id", ""), ("waiting", ""))


def upgrade() -> None:
    """Add the columns and the tables. Jobs that are there are of one document each, found by nobody."""
    for name, default in _TEXTS:
        op.add_column("jobs", sa.Column(name, sa.Text(), nullable=False, server_default=default))
    op.add_column("jobs", sa.Column("spec", _JSON, nullable=True))
    op.create_index(
        "ix_jobs_tenant_id_parent_id_create_time_id", "jobs", ["tenant_id", "parent_id", "create_time", "id"]
    )
    op.create_index(
        "ix_jobs_tenant_id_collection_uid_kind_state",
        "jobs",
        ["tenant_id", "collection_uid", "kind", "state"],
    )
    op.create_table(
        "job_items",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("item_key", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", "item_key", name="pk_job_items"),
        _of_job("job_items"),
    )
    op.create_table(
        "crawl_states",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", name="pk_crawl_states"),
        _of_job("crawl_states"),
    )
    op.create_table(
        "crawled_pages",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("collection_uid", sa.Text(), nullable=False),
        sa.Column("url_key", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("last_modified", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.Column("canonical_url", sa.Text(), nullable=False),
        sa.Column("links", _JSON, nullable=False),
        sa.Column("options_digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "collection_uid", "url_key", name="pk_crawled_pages"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "collection_uid"],
            ["collections.tenant_id", "collections.uid"],
            name="fk_crawled_pages_collections",
            ondelete="CASCADE",
        ),
    )


def _of_job(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], name=f"fk_{table}_jobs", ondelete="CASCADE"
    )


def downgrade() -> None:
    """Remove them. Jobs of many documents that are unfinished would be taken for documents."""
    for table in ("crawled_pages", "crawl_states", "job_items"):
        op.drop_table(table)
    op.drop_index("ix_jobs_tenant_id_collection_uid_kind_state", "jobs")
    op.drop_index("ix_jobs_tenant_id_parent_id_create_time_id", "jobs")
    for name in ("spec", *(name for name, _ in reversed(_TEXTS))):
        op.drop_column("jobs", name)
