"""The schema of release 0.1.0.

Frozen: later changes of the schema are further migrations, which must keep every row.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

APPEND_ONLY_ERROR = "audit_log is append-only"

# INSERT OR REPLACE deletes the old row without firing the delete trigger.
SQLITE_TRIGGERS = {
    "audit_log_no_update": "BEFORE UPDATE ON audit_log",
    "audit_log_no_delete": "BEFORE DELETE ON audit_log",
    "audit_log_no_replace": ("BEFORE INSERT ON audit_log WHEN EXISTS (SELECT 1 FROM audit_log WHERE id = NEW.id)"),
}
TABLES = (
    "tenants",
    "api_keys",
    "flows",
    "flow_versions",
    "numbers",
    "number_assignments",
    "number_provisioning",
    "departments",
    "secrets",
    "sounds",
    "rates",
    "calls",
    "usage",
    "call_events",
    "call_logs",
    "recordings",
    "prompts",
    "processes",
    "audit_log",
)  # each after the tables that it refers to


def upgrade() -> None:
    """Create all tables."""
    _create_tenants_and_keys()
    _create_flows()
    _create_numbers()
    _create_tenant_resources()
    _create_calls()
    _create_call_details()
    _create_recordings()
    _create_prompts()
    _create_processes()
    _create_audit_log()


def downgrade() -> None:
    """Drop all tables, the audit log included."""
    for table in reversed(TABLES):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_log_append_only()")


def _instant(name: str, *, optional: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=optional)


def _tenant_column() -> sa.Column[str]:
    return sa.Column("tenant_id", sa.String(40), sa.ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)


def _flow_reference() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["tenant_id", "flow_id"], ["flows.tenant_id", "flows.id"])


def _call_reference() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["tenant_id", "call_id"], ["calls.tenant_id", "calls.id"], ondelete="CASCADE")


def _create_partial_index(name: str, table: str, columns: list[str], condition: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))


def _create_tenants_and_keys() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("account_sid", sa.String(34), unique=True),
        sa.Column("auth_token", sa.Text),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("suspended", sa.Boolean, nullable=False),
        _instant("created_at"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(24), primary_key=True),
        sa.Column("tenant_id", sa.String(40), sa.ForeignKey("tenants.id", ondelete="CASCADE"), index=True),
        sa.Column("role", sa.String(10), nullable=False),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created_by", sa.String(24), nullable=False),
        _instant("created_at"),
        _instant("expires_at", optional=True),
        _instant("last_used_at", optional=True),
        _instant("revoked_at", optional=True),
    )


def _create_flows() -> None:
    op.create_table(
        "flows",
        _tenant_column(),
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("draft", sa.LargeBinary, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("active_version", sa.Integer),
        sa.Column("pause_settings", sa.Text),
        _instant("created_at"),
        _instant("updated_at"),
    )
    op.create_table(
        "flow_versions",
        _tenant_column(),
        sa.Column("flow_id", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("content_hash", sa.String(16), nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.Column("subflows", sa.Text, nullable=False),
        sa.Column("voice", sa.Text, nullable=False),
        sa.Column("note", sa.String(1000), nullable=False),
        sa.Column("promoted_by", sa.String(24), nullable=False),
        _instant("promoted_at"),
        _flow_reference(),
    )


def _create_numbers() -> None:
    op.create_table(
        "numbers",
        _tenant_column(),
        sa.Column("number", sa.String(16), primary_key=True),
        sa.Column("flow_id", sa.String(64)),
        sa.Column("fallback_number", sa.String(16)),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("account_sid", sa.String(34)),
        _instant("created_at"),
        sa.UniqueConstraint("number"),
        _flow_reference(),
        sa.Index(None, "tenant_id", "flow_id"),
    )
    op.create_table(
        "number_assignments",
        _tenant_column(),
        sa.Column("number", sa.String(16), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("flow_id", sa.String(64)),
        sa.Column("created_by", sa.String(24), nullable=False),
        _instant("created_at"),
    )
    op.create_table(
        "number_provisioning",
        _tenant_column(),
        sa.Column("number", sa.String(16), primary_key=True),
        sa.Column("desired", sa.Boolean, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("account_sid", sa.String(34)),
        sa.Column("previous", sa.Text),
        sa.Column("applied", sa.Text),
        _instant("verified_at", optional=True),
        sa.Column("failed_attempts", sa.Integer, nullable=False),
        _instant("due_at", optional=True),
        sa.Column("lease_owner", sa.String(32)),
        _instant("lease_until", optional=True),
        _instant("updated_at"),
        sa.Index(None, "due_at"),
        sa.Index(None, "number"),
    )


def _create_tenant_resources() -> None:
    op.create_table(
        "departments",
        _tenant_column(),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("settings", sa.Text, nullable=False),
        _instant("updated_at"),
    )
    op.create_table(
        "secrets",
        _tenant_column(),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        _instant("updated_at"),
    )
    op.create_table(
        "sounds",
        _tenant_column(),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("mulaw", sa.LargeBinary, nullable=False),
        _instant("updated_at"),
    )
    op.create_table(
        "rates",
        sa.Column("id", sa.String(24), primary_key=True),
        sa.Column("tenant_id", sa.String(40), sa.ForeignKey("tenants.id", ondelete="CASCADE")),
        sa.Column("tier", sa.String(12), nullable=False),
        sa.Column("micro_usd_per_minute", sa.BigInteger, nullable=False),
        _instant("effective_at"),
        sa.Column("created_by", sa.String(24), nullable=False),
        _instant("created_at"),
        sa.Index(None, "tenant_id", "tier", "effective_at"),
    )


def _create_calls() -> None:
    op.create_table(
        "calls",
        _tenant_column(),
        sa.Column("id", sa.String(34), primary_key=True),
        sa.Column("account_sid", sa.String(34), nullable=False),
        sa.Column("number", sa.String(16), nullable=False),
        sa.Column("caller", sa.String(16), nullable=False),
        sa.Column("flow_id", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        _instant("due_at", optional=True),
        sa.Column("status_report", sa.String(12)),
        _instant("started_at"),
        _instant("ended_at", optional=True),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("disposition", sa.String(200), nullable=False),
        sa.Column("department", sa.String(64), nullable=False),
        sa.Column("billed_microseconds", sa.BigInteger, nullable=False),
        sa.Column("cost_micro_usd", sa.BigInteger, nullable=False),
        sa.Column("resume_state", sa.Text),
        sa.Column("provider_usage", sa.Text),
        sa.Index(None, "tenant_id", "started_at"),
        sa.Index(None, "tenant_id", "flow_id", "started_at"),
        sa.Index(None, "tenant_id", "number", "started_at"),
        sa.Index(None, "id"),
    )
    _create_partial_index("ix_calls_live", "calls", ["tenant_id"], "ended_at IS NULL")
    op.create_index("ix_calls_ended_at", "calls", ["ended_at"])
    _create_partial_index("ix_calls_due_at", "calls", ["due_at"], "ended_at IS NULL")
    _create_partial_index("ix_calls_resumable", "calls", ["ended_at"], "resume_state IS NOT NULL")


def _create_call_details() -> None:
    op.create_table(
        "usage",
        sa.Column("tenant_id", sa.String(40), primary_key=True),
        sa.Column("call_id", sa.String(34), primary_key=True),
        sa.Column("segment", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.String(16), nullable=False),
        sa.Column("flow_id", sa.String(64), nullable=False),
        sa.Column("tier", sa.String(12), nullable=False),
        _instant("started_at"),
        sa.Column("billed_microseconds", sa.BigInteger, nullable=False),
        sa.Column("micro_usd_per_minute", sa.BigInteger, nullable=False),
        sa.Column("cost_micro_usd", sa.BigInteger, nullable=False),
        _call_reference(),
        sa.Index(None, "tenant_id", "started_at"),
    )
    op.create_table(
        "call_events",
        sa.Column("tenant_id", sa.String(40), primary_key=True),
        sa.Column("call_id", sa.String(34), primary_key=True),
        sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("type", sa.String(40), nullable=False),
        _instant("occurred_at"),
        sa.Column("flow_id", sa.String(64), nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("node", sa.String(64)),
        sa.Column("exit", sa.String(64)),
        sa.Column("latency_ms", sa.Integer),
        _call_reference(),
        sa.Index(None, "tenant_id", "type", "occurred_at"),
    )
    op.create_table(
        "call_logs",
        sa.Column("tenant_id", sa.String(40), primary_key=True),
        sa.Column("call_id", sa.String(34), primary_key=True),
        sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("log", sa.LargeBinary, nullable=False),
        _call_reference(),
    )


def _create_recordings() -> None:
    op.create_table(
        "recordings",
        _tenant_column(),
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("call_id", sa.String(34), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("channels", sa.Integer, nullable=False),
        _instant("started_at"),
        sa.Column("duration_seconds", sa.Float, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("object_path", sa.String(300), nullable=False),
        sa.Index(None, "tenant_id", "started_at"),
        sa.Index(None, "tenant_id", "call_id"),
    )
    _create_partial_index("ix_recordings_writing", "recordings", ["started_at"], "state = 'writing'")


def _create_prompts() -> None:
    op.create_table(
        "prompts",
        _tenant_column(),
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("tier", sa.String(12), nullable=False),
        sa.Column("voice", sa.Text, nullable=False),
        sa.Column("sentence", sa.Text, nullable=False),
        sa.Column("characters", sa.Integer, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("failed_attempts", sa.Integer, nullable=False),
        sa.Column("unfinished_attempts", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        _instant("due_at", optional=True),
        sa.Column("lease_owner", sa.String(32)),
        _instant("lease_until", optional=True),
        _instant("last_referenced_at"),
        _instant("rendered_at", optional=True),
        sa.Index(None, "last_referenced_at"),
    )
    _create_partial_index("ix_prompts_due_at", "prompts", ["tenant_id", "due_at"], "due_at IS NOT NULL")


def _create_processes() -> None:
    op.create_table(
        "processes",
        sa.Column("id", sa.String(24), primary_key=True),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("version", sa.String(40), nullable=False),
        _instant("started_at"),
        _instant("last_seen_at"),
        sa.Column("capacity", sa.Integer, nullable=False),
        sa.Column("live_calls", sa.Integer, nullable=False),
        sa.Column("calls_per_second", sa.Float, nullable=False),
        sa.Column("event_loop_lag_ms", sa.Float, nullable=False),
        sa.Column("draining", sa.Boolean, nullable=False),
    )


def _create_audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("tenant_id", sa.String(40)),
        _instant("occurred_at"),
        sa.Column("key_id", sa.String(24), nullable=False),
        sa.Column("role", sa.String(10), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("target", sa.String(200), nullable=False),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
        sa.Index(None, "tenant_id", "occurred_at"),
    )
    _protect_audit_log()


def _protect_audit_log() -> None:
    """Let the database itself reject updates and deletes of audit entries."""
    if op.get_bind().dialect.name == "sqlite":
        for name, event in SQLITE_TRIGGERS.items():
            op.execute(f"CREATE TRIGGER {name} {event} BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY_ERROR}'); END")
        return
    op.execute(
        "CREATE FUNCTION audit_log_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"RAISE EXCEPTION '{APPEND_ONLY_ERROR}' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_log_append_only()"
    )
