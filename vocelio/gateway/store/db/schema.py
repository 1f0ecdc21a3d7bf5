"""The tables. Every primary key of a tenant's rows starts with the tenant, so that no query can forget the tenant.

Instants are whole microseconds UTC and money is whole micro-USD, both as integers: SQLite would turn decimals into
floats and lose time zones. JSON is text that the gateway itself writes and reads, byte for byte the same on both
databases. Rows of number_assignments, flow_versions and audit_log are only ever added.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _tenant_column() -> Column[str]:
    return Column("tenant_id", String(40), ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)


def _flow_reference() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["tenant_id", "flow_id"], ["flows.tenant_id", "flows.id"])


def _instant(name: str, *, optional: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=optional)


tenants = Table(
    "tenants",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("settings", Text, nullable=False),  # JSON
    Column("account_sid", String(34), unique=True),  # the tenant's own Twilio account, if it has one
    Column("auth_token", Text),  # encrypted
    Column("revision", Integer, nullable=False),  # raised by every change that the next call must see
    Column("suspended", Boolean, nullable=False),
    _instant("created_at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("tenant_id", String(40), ForeignKey("tenants.id", ondelete="CASCADE"), index=True),  # null: platform key
    Column("role", String(10), nullable=False),
    Column("label", String(200), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("created_by", String(24), nullable=False),
    _instant("created_at"),
    _instant("expires_at", optional=True),
    _instant("last_used_at", optional=True),
    _instant("revoked_at", optional=True),
)

flows = Table(
    "flows",
    metadata,
    _tenant_column(),
    Column("id", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("draft", LargeBinary, nullable=False),  # byte for byte as it was sent
    Column("revision", Integer, nullable=False),  # of the draft: its ETag
    Column("active_version", Integer),  # answers new calls; null: never promoted
    Column("pause_settings", Text),  # JSON; null: not paused
    _instant("created_at"),
    _instant("updated_at"),
)

flow_versions = Table(
    "flow_versions",
    metadata,
    _tenant_column(),
    Column("flow_id", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("content_hash", String(16), nullable=False),  # the engine's hash, which checkpoints and call logs name
    Column("document", LargeBinary, nullable=False),
    Column("subflows", Text, nullable=False),  # JSON: reference -> [flow, number], pinned
    Column("voice", Text, nullable=False),  # JSON: the flow's voice with every field
    Column("note", String(1000), nullable=False),
    Column("promoted_by", String(24), nullable=False),
    _instant("promoted_at"),
    _flow_reference(),
)

numbers = Table(
    "numbers",
    metadata,
    _tenant_column(),
    Column("number", String(16), primary_key=True),
    Column("flow_id", String(64)),
    Column("fallback_number", String(16)),
    Column("label", String(200), nullable=False),
    Column("account_sid", String(34)),  # the Twilio account under which it is claimed; null: the platform's
    _instant("created_at"),
    UniqueConstraint("number"),  # across tenants: a telephone number has one owner
    _flow_reference(),
    Index(None, "tenant_id", "flow_id"),
)

number_assignments = Table(
    "number_assignments",
    metadata,
    _tenant_column(),
    Column("number", String(16), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),  # counts from 1
    Column("flow_id", String(64)),  # null: unassigned
    Column("created_by", String(24), nullable=False),
    _instant("created_at"),
)

number_provisioning = Table(
    "number_provisioning",
    metadata,
    _tenant_column(),
    Column("number", String(16), primary_key=True),  # no reference: the row outlives the number until it is restored
    Column("desired", Boolean, nullable=False),  # true: our webhooks; false: the previous ones are to be restored
    Column("revision", Integer, nullable=False),  # raised by every new request
    Column("state", String(12), nullable=False),
    Column("error", Text, nullable=False),
    Column("account_sid", String(34)),  # the Twilio account that has the number; null: nothing was changed there
    Column("previous", Text),  # JSON: the webhooks before ours
    Column("applied", Text),  # JSON: our webhooks
    _instant("verified_at", optional=True),  # when ours were last seen to be set
    Column("failed_attempts", Integer, nullable=False),  # in succession
    _instant("due_at", optional=True),  # null: nothing to do
    Column("lease_owner", String(32)),
    _instant("lease_until", optional=True),
    _instant("updated_at"),
    Index(None, "due_at"),
    Index(None, "number"),
)

departments = Table(
    "departments",
    metadata,
    _tenant_column(),
    Column("name", String(64), primary_key=True),
    Column("settings", Text, nullable=False),  # JSON
    _instant("updated_at"),
)

secrets = Table(
    "secrets",
    metadata,
    _tenant_column(),
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),  # encrypted
    _instant("updated_at"),
)

sounds = Table(
    "sounds",
    metadata,
    _tenant_column(),
    Column("name", String(64), primary_key=True),
    Column("mulaw", LargeBinary, nullable=False),
    _instant("updated_at"),
)

rates = Table(
    "rates",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("tenant_id", String(40), ForeignKey("tenants.id", ondelete="CASCADE")),  # null: the platform's default
    Column("tier", String(12), nullable=False),
    Column("micro_usd_per_minute", BigInteger, nullable=False),
    _instant("effective_at"),
    Column("created_by", String(24), nullable=False),
    _instant("created_at"),
    Index(None, "tenant_id", "tier", "effective_at"),
)

calls = Table(
    "calls",
    metadata,
    Column("tenant_id", String(40), ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("id", String(34), primary_key=True),
    Column("account_sid", String(34), nullable=False),
    Column("number", String(16), nullable=False),
    Column("caller", String(16), nullable=False),
    Column("flow_id", String(64), nullable=False),
    Column("version", Integer),  # null: rejected before a flow started
    Column("revision", Integer, nullable=False),  # counts saves of the call: a later one replaces an earlier one
    Column("generation", Integer, nullable=False),  # counts streams: saves of an older one are rejected
    _instant("due_at", optional=True),  # without a heartbeat by then, the call is over
    Column("status_report", String(12)),  # what Twilio reported of the call's end
    _instant("started_at"),
    _instant("ended_at", optional=True),
    Column("outcome", String(20), nullable=False),
    Column("disposition", String(200), nullable=False),
    Column("department", String(64), nullable=False),
    Column("billed_microseconds", BigInteger, nullable=False),
    Column("cost_micro_usd", BigInteger, nullable=False),
    Column("resume_state", Text),  # encrypted JSON: the checkpoint for the next stream; null once the call has ended
    Column("provider_usage", Text),  # JSON: use of each speech provider
    Index(None, "tenant_id", "started_at"),
    Index(None, "tenant_id", "flow_id", "started_at"),
    Index(None, "tenant_id", "number", "started_at"),
    Index(None, "id"),
)
_IS_LIVE = calls.c.ended_at.is_(None)
_IS_RESUMABLE = calls.c.resume_state.is_not(None)
Index("ix_calls_live", calls.c.tenant_id, sqlite_where=_IS_LIVE, postgresql_where=_IS_LIVE)
Index("ix_calls_ended_at", calls.c.ended_at)
Index("ix_calls_due_at", calls.c.due_at, sqlite_where=_IS_LIVE, postgresql_where=_IS_LIVE)
Index("ix_calls_resumable", calls.c.ended_at, sqlite_where=_IS_RESUMABLE, postgresql_where=_IS_RESUMABLE)

usage = Table(
    "usage",
    metadata,
    Column("tenant_id", String(40), primary_key=True),
    Column("call_id", String(34), primary_key=True),
    Column("segment", Integer, primary_key=True, autoincrement=False),  # counts from 0
    Column("number", String(16), nullable=False),
    Column("flow_id", String(64), nullable=False),
    Column("tier", String(12), nullable=False),
    _instant("started_at"),  # of the call, not of the segment: a call belongs to one day
    Column("billed_microseconds", BigInteger, nullable=False),
    Column("micro_usd_per_minute", BigInteger, nullable=False),
    Column("cost_micro_usd", BigInteger, nullable=False),
    ForeignKeyConstraint(["tenant_id", "call_id"], ["calls.tenant_id", "calls.id"], ondelete="CASCADE"),
    Index(None, "tenant_id", "started_at"),
)

call_events = Table(
    "call_events",
    metadata,
    Column("tenant_id", String(40), primary_key=True),
    Column("call_id", String(34), primary_key=True),
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("type", String(40), nullable=False),
    _instant("occurred_at"),
    Column("flow_id", String(64), nullable=False),
    Column("data", Text, nullable=False),  # JSON
    # Copied from the data for analytics.
    Column("node", String(64)),
    Column("exit", String(64)),
    Column("latency_ms", Integer),
    ForeignKeyConstraint(["tenant_id", "call_id"], ["calls.tenant_id", "calls.id"], ondelete="CASCADE"),
    Index(None, "tenant_id", "type", "occurred_at"),
)

call_logs = Table(
    "call_logs",
    metadata,
    Column("tenant_id", String(40), primary_key=True),
    Column("call_id", String(34), primary_key=True),
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("log", LargeBinary, nullable=False),  # compressed JSON lines, one row for each save: for replay
    ForeignKeyConstraint(["tenant_id", "call_id"], ["calls.tenant_id", "calls.id"], ondelete="CASCADE"),
)

recordings = Table(
    "recordings",
    metadata,
    _tenant_column(),
    Column("id", String(32), primary_key=True),
    Column("call_id", String(34), nullable=False),  # no reference: the call may be saved later
    Column("kind", String(10), nullable=False),
    Column("channels", Integer, nullable=False),
    _instant("started_at"),
    Column("duration_seconds", Float, nullable=False),
    Column("state", String(10), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("object_path", String(300), nullable=False),  # of the final object; empty while there are only chunks
    Index(None, "tenant_id", "started_at"),
    Index(None, "tenant_id", "call_id"),
)
_IS_WRITING = recordings.c.state == "writing"
Index("ix_recordings_writing", recordings.c.started_at, sqlite_where=_IS_WRITING, postgresql_where=_IS_WRITING)

prompts = Table(
    "prompts",
    metadata,
    _tenant_column(),
    Column("id", String(64), primary_key=True),  # hash of the content: the cache key
    Column("tier", String(12), nullable=False),
    Column("voice", Text, nullable=False),  # JSON
    Column("sentence", Text, nullable=False),
    Column("characters", Integer, nullable=False),
    Column("state", String(10), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("failed_attempts", Integer, nullable=False),  # in succession
    Column("unfinished_attempts", Integer, nullable=False),  # in succession: begun, and neither ended nor released
    Column("error", Text, nullable=False),
    _instant("due_at", optional=True),  # when it may be rendered; null: it is rendered, or given up
    Column("lease_owner", String(32)),
    _instant("lease_until", optional=True),
    _instant("last_referenced_at"),  # when an active version was last seen to play it
    _instant("rendered_at", optional=True),
    Index(None, "last_referenced_at"),
)
_IS_DUE = prompts.c.due_at.is_not(None)
Index("ix_prompts_due_at", prompts.c.tenant_id, prompts.c.due_at, sqlite_where=_IS_DUE, postgresql_where=_IS_DUE)

processes = Table(
    "processes",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", String(40), nullable=False),
    _instant("started_at"),
    _instant("last_seen_at"),
    Column("capacity", Integer, nullable=False),
    Column("live_calls", Integer, nullable=False),
    Column("calls_per_second", Float, nullable=False),
    Column("event_loop_lag_ms", Float, nullable=False),
    Column("draining", Boolean, nullable=False),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("tenant_id", String(40)),  # no reference: entries outlive the tenant; null: platform-wide
    _instant("occurred_at"),
    Column("key_id", String(24), nullable=False),
    Column("role", String(10), nullable=False),
    Column("request_id", String(64), nullable=False),
    Column("action", String(40), nullable=False),
    Column("target", String(200), nullable=False),
    Column("before", Text),  # JSON
    Column("after", Text),  # JSON
    Index(None, "tenant_id", "occurred_at"),
)
