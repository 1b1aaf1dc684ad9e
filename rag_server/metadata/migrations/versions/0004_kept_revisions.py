"""What documents looked like in the revisions that are kept."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")

_VISIBLE = """
INSERT INTO kept_revisions (
    tenant_id, collection_uid, document_id, revision, title, declared_title, source_uri, file_name,
    media_type, declared_type, sha256, size_bytes, language, fields, chunk_count, token_count, page_count,
    chunking, recipe, create_time
)
SELECT d.tenant_id, d.collection_uid, d.id, d.revision, d.title, d.title, d.source_uri, '', d.media_type,
    d.media_type, d.sha256, d.size_bytes, d.language, d.fields, d.chunk_count, d.token_count, d.page_count,
    c.chunking, '', d.update_time
FROM documents AS d JOIN collections AS c ON c.tenant_id = d.tenant_id AND c.uid = d.collection_uid
"""
"""How a document was handed in was not recorded: it counts as handed in the way it was understood."""


def upgrade() -> None:
    """Add the table; what is visible now is the first that it knows."""
    op.create_table(
        "kept_revisions",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("collection_uid", sa.Text(), nullable=False),
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("declared_title", sa.Text(), nullable=False),
        sa.Column("source_uri", sa.Text(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("declared_type", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("fields", _JSON, nullable=False),
        sa.Column("chunk_count", sa.BigInteger(), nullable=False),
        sa.Column("token_count", sa.BigInteger(), nullable=False),
        sa.Column("page_count", sa.BigInteger(), nullable=True),
        sa.Column("chunking", _JSON, nullable=False),
        sa.Column("recipe", sa.Text(), nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant_id", "collection_uid", "document_id", "revision", name="pk_kept_revisions"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "collection_uid"],
            ["collections.tenant_id", "collections.uid"],
            name="fk_kept_revisions_collections",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_kept_revisions_tenant_id_sha256", "kept_revisions", ["tenant_id", "sha256"])
    op.execute(_VISIBLE)


def downgrade() -> None:
    """Remove it. Bytes of earlier revisions are left to the sweeper, which finds that nothing needs them."""
    op.drop_table("kept_revisions")
