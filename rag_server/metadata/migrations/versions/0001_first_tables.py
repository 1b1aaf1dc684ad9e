"""First tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    """Create everything."""
    _create_collections()
    _create_jobs()
    _create_ledgers()


def downgrade() -> None:
    """Remove everything."""
    for table in (
        "metadata_fields",
        "documents",
        "document_revisions",
        "job_events",
        "jobs",
        "idempotency",
        "sweeps",
        "blobs",
        "collections",
    ):
        op.drop_table(table)


def _create_collections() -> None:
    """A collection and what goes with it."""
    op.create_table(
        "collections",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("embedding_model", sa.Text(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("chunking", _JSON, nullable=False),
        sa.Column("labels", _JSON, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("document_count", sa.BigInteger(), nullable=False),
        sa.Column("chunk_count", sa.BigInteger(), nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.Column("update_time", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_collections"),
        sa.UniqueConstraint("tenant_id", "uid", name="uq_collections_tenant_id_uid"),
        sa.UniqueConstraint("uid", name="uq_collections_uid"),
    )
    op.create_table(
        "metadata_fields",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("collection_uid", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "collection_uid", "name", name="pk_metadata_fields"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "collection_uid"],
            ["collections.tenant_id", "collections.uid"],
            name="fk_metadata_fields_collections",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "documents",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("collection_uid", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("collection_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("source_uri", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("fields", _JSON, nullable=False),
        sa.Column("chunk_count", sa.BigInteger(), nullable=False),
        sa.Column("token_count", sa.BigInteger(), nullable=False),
        sa.Column("page_count", sa.BigInteger(), nullable=True),
        sa.Column("create_time", _TIME, nullable=False),
        sa.Column("update_time", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "collection_uid", "id", name="pk_documents"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "collection_uid"],
            ["collections.tenant_id", "collections.uid"],
            name="fk_documents_collections",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_documents_tenant_id_sha256", "documents", ["tenant_id", "sha256"])
    op.create_table(
        "document_revisions",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("collection_uid", sa.Text(), nullable=False),
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("last_revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "collection_uid", "document_id", name="pk_document_revisions"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "collection_uid"],
            ["collections.tenant_id", "collections.uid"],
            name="fk_document_revisions_collections",
            ondelete="CASCADE",
        ),
    )


def _create_jobs() -> None:
    """Jobs, which outlive their collection."""
    op.create_table(
        "jobs",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("collection_uid", sa.Text(), nullable=False),
        sa.Column("collection_id", sa.Text(), nullable=False),
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("document", _JSON, nullable=False),
        sa.Column("chunking", _JSON, nullable=False),
        sa.Column("content_sha256", sa.Text(), nullable=False),
        sa.Column("fetch_uri", sa.Text(), nullable=False),
        sa.Column("document_revision", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("progress", _JSON, nullable=False),
        sa.Column("error", _JSON, nullable=True),
        sa.Column("attempt_count", sa.Integer(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.Column("start_time", _TIME, nullable=True),
        sa.Column("update_time", _TIME, nullable=False),
        sa.Column("end_time", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_state_create_time_id", "jobs", ["state", "create_time", "id"])
    op.create_index(
        "ix_jobs_tenant_id_collection_uid_document_id", "jobs", ["tenant_id", "collection_uid", "document_id"]
    )
    op.create_index("ix_jobs_tenant_id_content_sha256", "jobs", ["tenant_id", "content_sha256"])
    op.create_index("ix_jobs_tenant_id_create_time_id", "jobs", ["tenant_id", "create_time", "id"])
    op.create_table(
        "job_events",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("snapshot", _JSON, nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", "sequence", name="pk_job_events"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id"],
            ["jobs.tenant_id", "jobs.id"],
            name="fk_job_events_jobs",
            ondelete="CASCADE",
        ),
    )


def _create_ledgers() -> None:
    """What keeps calls idempotent and the stores in agreement."""
    op.create_table(
        "idempotency",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("body_hash", sa.Text(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "method", "request_id", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_create_time", "idempotency", ["create_time"])
    op.create_table(
        "sweeps",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("collection_uid", sa.Text(), nullable=False),
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=True),
        sa.Column("before_revision", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_sweeps"),
    )
    op.create_index("ix_sweeps_id", "sweeps", ["id"])
    op.create_table(
        "blobs",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "sha256", name="pk_blobs"),
    )
