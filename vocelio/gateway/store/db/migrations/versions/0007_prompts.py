"""Prompts: the sentences that are rendered before anybody calls."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "prompts",
        sa.Column("tenant_id", sa.String(40), sa.ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("tier", sa.String(12), nullable=False),
        sa.Column("voice", sa.Text, nullable=False),
        sa.Column("sentence", sa.Text, nullable=False),
        sa.Column("characters", sa.Integer, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("problem", sa.Text, nullable=False),
        sa.Column("due", sa.BigInteger),
        sa.Column("claimed_until", sa.BigInteger),
        sa.Column("wanted", sa.BigInteger, nullable=False),
        sa.Column("made", sa.BigInteger),
        sa.Index(None, "wanted"),
    )
    due = sa.text("due IS NOT NULL")
    op.create_index("ix_prompts_due", "prompts", ["tenant_id", "due"], sqlite_where=due, postgresql_where=due)


def downgrade() -> None:
    """Remove it; the sound stays in the storage."""
    op.drop_table("prompts")
