"""Calls by their end: monitors are shown those that have ended just now."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Make the index."""
    op.create_index("ix_calls_ended", "calls", ["ended"])


def downgrade() -> None:
    """Remove it."""
    op.drop_index("ix_calls_ended", "calls")
