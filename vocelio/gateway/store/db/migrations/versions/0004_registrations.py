"""Registrations: what is to be set at Twilio for each number, and how far that is."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "registrations",
        sa.Column("tenant_id", sa.String(40), sa.ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.String(16), primary_key=True),
        sa.Column("wanted", sa.Boolean, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("problem", sa.Text, nullable=False),
        sa.Column("account", sa.String(34)),
        sa.Column("former", sa.Text),
        sa.Column("made", sa.Text),
        sa.Column("since", sa.BigInteger),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due", sa.BigInteger),
        sa.Column("holder", sa.String(32)),
        sa.Column("lease", sa.BigInteger),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.Index(None, "due"),
        sa.Index(None, "number"),
    )


def downgrade() -> None:
    """Remove it."""
    op.drop_table("registrations")
