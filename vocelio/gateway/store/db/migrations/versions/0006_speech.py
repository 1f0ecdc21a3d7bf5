"""Speech: what its providers did for each call."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the column."""
    op.add_column("calls", sa.Column("speech", sa.Text))


def downgrade() -> None:
    """Remove it."""
    op.drop_column("calls", "speech")
