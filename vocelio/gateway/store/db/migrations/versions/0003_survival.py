"""Calls that outlive their process: when each is due, what Twilio told of its end, and a log that is kept as it grows.

A call that was live when this ran has no state that could be read: it is due at once.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

LIVE, KEPT = sa.text("ended IS NULL"), sa.text("state IS NOT NULL")
KEY = ("tenant_id", "call_id")


def upgrade() -> None:
    """Make them."""
    op.add_column("calls", sa.Column("due", sa.BigInteger))
    op.add_column("calls", sa.Column("told", sa.String(12)))
    op.execute("UPDATE calls SET state = NULL, due = 0 WHERE ended IS NULL")
    op.create_index("ix_calls_due", "calls", ["due"], sqlite_where=LIVE, postgresql_where=LIVE)
    op.create_index("ix_calls_kept", "calls", ["ended"], sqlite_where=KEPT, postgresql_where=KEPT)
    _make_logs("made_logs", sa.Column("generation", sa.Integer), sa.Column("revision", sa.Integer))
    op.execute("INSERT INTO made_logs SELECT tenant_id, call_id, 0, 0, log FROM call_logs")
    _replace_logs()


def downgrade() -> None:
    """Take them away; of a log in pieces only the first stays."""
    _make_logs("made_logs")
    op.execute(
        "INSERT INTO made_logs SELECT tenant_id, call_id, log FROM call_logs AS piece WHERE NOT EXISTS ("
        "SELECT 1 FROM call_logs AS other WHERE other.tenant_id = piece.tenant_id AND other.call_id = piece.call_id "
        "AND (other.generation < piece.generation "
        "OR (other.generation = piece.generation AND other.revision < piece.revision)))"
    )
    _replace_logs()
    op.drop_index("ix_calls_kept", "calls")
    op.drop_index("ix_calls_due", "calls")
    op.drop_column("calls", "told")
    op.drop_column("calls", "due")


def _make_logs(name: str, *more: sa.Column[int]) -> None:
    op.create_table(
        name,
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("call_id", sa.String(34), nullable=False),
        *more,
        sa.Column("log", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint(*KEY, *(column.name for column in more), name="pk_made_logs"),
        sa.ForeignKeyConstraint(KEY, ["calls.tenant_id", "calls.id"], ondelete="CASCADE", name="fk_made_logs"),
    )


def _replace_logs() -> None:
    op.drop_table("call_logs")
    op.rename_table("made_logs", "call_logs")
    if op.get_bind().dialect.name == "postgresql":  # SQLite's names of constraints have no meaning
        op.execute("ALTER TABLE call_logs RENAME CONSTRAINT pk_made_logs TO pk_call_logs")
        op.execute("ALTER TABLE call_logs RENAME CONSTRAINT fk_made_logs TO fk_call_logs_tenant_id_call_id")
