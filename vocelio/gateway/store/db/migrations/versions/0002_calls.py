"""Calls: what is kept of each, its bill, its timeline and its log."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def _at(name: str, nullable: bool = False) -> sa.Column[int]:
    """An instant: microseconds UTC."""
    return sa.Column(name, sa.BigInteger, nullable=nullable)


def _of_call() -> tuple[sa.Column[str], sa.Column[str], sa.ForeignKeyConstraint]:
    return (
        sa.Column("tenant_id", sa.String(40), primary_key=True),
        sa.Column("call_id", sa.String(34), primary_key=True),
        sa.ForeignKeyConstraint(["tenant_id", "call_id"], ["calls.tenant_id", "calls.id"], ondelete="CASCADE"),
    )


def upgrade() -> None:
    """Make them."""
    _calls()
    op.create_table(
        "usage",
        *_of_call(),
        sa.Column("segment", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.String(16), nullable=False),
        sa.Column("flow_id", sa.String(64), nullable=False),
        sa.Column("tier", sa.String(12), nullable=False),
        _at("at"),
        sa.Column("billed", sa.BigInteger, nullable=False),
        sa.Column("rate", sa.BigInteger, nullable=False),
        sa.Column("micro_usd", sa.BigInteger, nullable=False),
        sa.Index(None, "tenant_id", "at"),
    )
    op.create_table(
        "call_events",
        *_of_call(),
        sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("type", sa.String(40), nullable=False),
        _at("at"),
        sa.Column("flow_id", sa.String(64), nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("node", sa.String(64)),
        sa.Column("exit", sa.String(64)),
        sa.Column("latency", sa.Integer),
        sa.Index(None, "tenant_id", "type", "at"),
    )
    op.create_table("call_logs", *_of_call(), sa.Column("log", sa.LargeBinary, nullable=False))


def _calls() -> None:
    op.create_table(
        "calls",
        sa.Column("tenant_id", sa.String(40), sa.ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("id", sa.String(34), primary_key=True),
        sa.Column("account", sa.String(34), nullable=False),
        sa.Column("number", sa.String(16), nullable=False),
        sa.Column("caller", sa.String(16), nullable=False),
        sa.Column("flow_id", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        _at("started"),
        _at("ended", nullable=True),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("disposition", sa.String(200), nullable=False),
        sa.Column("department", sa.String(64), nullable=False),
        sa.Column("billed", sa.BigInteger, nullable=False),
        sa.Column("micro_usd", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text),
        sa.Index(None, "tenant_id", "started"),
        sa.Index(None, "tenant_id", "flow_id", "started"),
        sa.Index(None, "tenant_id", "number", "started"),
        sa.Index(None, "id"),
    )
    live = sa.text("ended IS NULL")
    op.create_index("ix_calls_live", "calls", ["tenant_id"], sqlite_where=live, postgresql_where=live)


def downgrade() -> None:
    """Remove them."""
    for table in ("call_logs", "call_events", "usage", "calls"):
        op.drop_table(table)
