"""The first tables: tenants and keys, flows, numbers and all that calls need to know, and the trail of changes."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

APPEND_ONLY = "the audit trail is only ever added to"

# `INSERT OR REPLACE` would remove a row without a word to the trigger of deletions.
SQLITE_TRIGGERS = {
    "audit_no_update": "BEFORE UPDATE ON audit",
    "audit_no_delete": "BEFORE DELETE ON audit",
    "audit_no_replace": "BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)",
}


def _at(name: str, nullable: bool = False) -> sa.Column[int]:
    """An instant: microseconds UTC."""
    return sa.Column(name, sa.BigInteger, nullable=nullable)


def _tenant(primary_key: bool = False, index: bool = False) -> sa.Column[str]:
    return sa.Column(
        "tenant_id",
        sa.String(40),
        sa.ForeignKey("tenants.id", ondelete="CASCADE"),
        primary_key=primary_key,
        index=index,
    )


def _of_flow() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["tenant_id", "flow_id"], ["flows.tenant_id", "flows.id"])


def upgrade() -> None:
    """Make them."""
    _tenants_and_keys()
    _flows()
    _numbers()
    _what_calls_need()
    _audit()


def _tenants_and_keys() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("account", sa.String(34), unique=True),
        sa.Column("auth_token", sa.Text),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("suspended", sa.Boolean, nullable=False),
        _at("created"),
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.String(24), primary_key=True),
        _tenant(index=True),
        sa.Column("role", sa.String(10), nullable=False),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created_by", sa.String(24), nullable=False),
        _at("created"),
        _at("expires", nullable=True),
        _at("last_used", nullable=True),
        _at("revoked", nullable=True),
    )


def _flows() -> None:
    op.create_table(
        "flows",
        _tenant(primary_key=True),
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("draft", sa.LargeBinary, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("active", sa.Integer),
        sa.Column("pause", sa.Text),
        _at("created"),
        _at("changed"),
    )
    op.create_table(
        "flow_versions",
        _tenant(primary_key=True),
        sa.Column("flow_id", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("content", sa.String(16), nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.Column("subflows", sa.Text, nullable=False),
        sa.Column("voice", sa.Text, nullable=False),
        sa.Column("note", sa.String(1000), nullable=False),
        sa.Column("promoted_by", sa.String(24), nullable=False),
        _at("promoted"),
        _of_flow(),
    )


def _numbers() -> None:
    op.create_table(
        "numbers",
        _tenant(primary_key=True),
        sa.Column("number", sa.String(16), primary_key=True),
        sa.Column("flow_id", sa.String(64)),
        sa.Column("fallback", sa.String(16)),
        sa.Column("label", sa.String(200), nullable=False),
        _at("created"),
        sa.UniqueConstraint("number"),
        _of_flow(),
        sa.Index(None, "tenant_id", "flow_id"),
    )
    op.create_table(
        "assignments",
        _tenant(primary_key=True),
        sa.Column("number", sa.String(16), primary_key=True),
        sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("flow_id", sa.String(64)),
        sa.Column("by", sa.String(24), nullable=False),
        _at("at"),
    )


def _what_calls_need() -> None:
    for table, column in (
        ("departments", sa.Column("settings", sa.Text, nullable=False)),
        ("secrets", sa.Column("value", sa.Text, nullable=False)),
        ("sounds", sa.Column("mulaw", sa.LargeBinary, nullable=False)),
    ):
        op.create_table(
            table,
            _tenant(primary_key=True),
            sa.Column("name", sa.String(64), primary_key=True),
            column,
            _at("changed"),
        )
    op.create_table(
        "rates",
        sa.Column("id", sa.String(24), primary_key=True),
        _tenant(),
        sa.Column("tier", sa.String(12), nullable=False),
        sa.Column("micro_usd_per_minute", sa.BigInteger, nullable=False),
        _at("begins"),
        sa.Column("by", sa.String(24), nullable=False),
        _at("created"),
        sa.Index(None, "tenant_id", "tier", "begins"),
    )


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("tenant_id", sa.String(40)),
        _at("at"),
        sa.Column("key_id", sa.String(24), nullable=False),
        sa.Column("role", sa.String(10), nullable=False),
        sa.Column("request", sa.String(64), nullable=False),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("target", sa.String(200), nullable=False),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
        sa.Index(None, "tenant_id", "at"),
    )
    if op.get_bind().dialect.name == "sqlite":
        for name, when in SQLITE_TRIGGERS.items():
            op.execute(f"CREATE TRIGGER {name} {when} BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY}'); END")
        return
    op.execute(
        "CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"RAISE EXCEPTION '{APPEND_ONLY}' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()"
    )


def downgrade() -> None:
    """Remove them, the trail included."""
    for table in (
        "audit",
        "rates",
        "sounds",
        "secrets",
        "departments",
        "assignments",
        "numbers",
        "flow_versions",
        "flows",
        "keys",
        "tenants",
    ):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_append_only()")
