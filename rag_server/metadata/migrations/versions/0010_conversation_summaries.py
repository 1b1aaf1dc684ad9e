"""What was said before the last messages of a conversation, in short."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns. Conversations that are there get a summary when they go on."""
    op.add_column("conversations", sa.Column("summary", sa.Text(), nullable=True))
    op.add_column("conversations", sa.Column("summary_sequence", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Remove them: messages are as they were."""
    op.drop_column("conversations", "summary_sequence")
    op.drop_column("conversations", "summary")
