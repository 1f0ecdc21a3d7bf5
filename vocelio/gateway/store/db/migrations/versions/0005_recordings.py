"""Recordings: what is known of each; their sound is in the storage."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "recordings",
        sa.Column("tenant_id", sa.String(40), sa.ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("call_id", sa.String(34), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("channels", sa.Integer, nullable=False),
        sa.Column("started", sa.BigInteger, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("object", sa.String(300), nullable=False),
        sa.Index(None, "tenant_id", "started"),
        sa.Index(None, "tenant_id", "call_id"),
    )
    writing = sa.text("state = 'writing'")
    op.create_index("ix_recordings_writing", "recordings", ["started"], sqlite_where=writing, postgresql_where=writing)


def downgrade() -> None:
    """Remove it; the sound stays in the storage."""
    op.drop_table("recordings")
