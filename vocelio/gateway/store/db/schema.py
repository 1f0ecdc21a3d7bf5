"""The tables. Every key of a tenant's begins with the tenant, so that no query can forget whose it is.

Instants are whole microseconds UTC and money is whole micro-USD, both as integers: SQLite would turn decimals into
floats and lose time zones. JSON is text that we write and read ourselves, byte for byte the same on both databases.
Rows that say what happened (assignments, versions, audit) are only ever added.
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
    Column("settings", Text, nullable=False),  # JSON: the defaults
    Column("account", String(34), unique=True),  # of Twilio, where the tenant has one of its own
    Column("auth_token", Text),  # encrypted
    Column("revision", Integer, nullable=False),  # raised by every change that a call must notice
    Column("suspended", Boolean, nullable=False),
    _instant("created"),
)

api_keys = Table(
    "keys",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("tenant_id", String(40), ForeignKey("tenants.id", ondelete="CASCADE"), index=True),  # none: platform
    Column("role", String(10), nullable=False),
    Column("label", String(200), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("created_by", String(24), nullable=False),
    _instant("created"),
    _instant("expires", optional=True),
    _instant("last_used", optional=True),
    _instant("revoked", optional=True),
)

flows = Table(
    "flows",
    metadata,
    _tenant_column(),
    Column("id", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("draft", LargeBinary, nullable=False),  # as the designer sent it
    Column("revision", Integer, nullable=False),  # of the draft: its ETag
    Column("active", Integer),  # the version that new calls get
    Column("pause", Text),  # JSON: how, when it is paused
    _instant("created"),
    _instant("changed"),
)

flow_versions = Table(
    "flow_versions",
    metadata,
    _tenant_column(),
    Column("flow_id", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("content", String(16), nullable=False),  # the engine's id, which checkpoints and logs name
    Column("document", LargeBinary, nullable=False),
    Column("subflows", Text, nullable=False),  # JSON: reference -> [flow, number], pinned
    Column("voice", Text, nullable=False),  # JSON: the flow's own, whole
    Column("note", String(1000), nullable=False),
    Column("promoted_by", String(24), nullable=False),
    _instant("promoted"),
    _flow_reference(),
)

numbers = Table(
    "numbers",
    metadata,
    _tenant_column(),
    Column("number", String(16), primary_key=True),
    Column("flow_id", String(64)),
    Column("fallback", String(16)),
    Column("label", String(200), nullable=False),
    _instant("created"),
    UniqueConstraint("number"),  # of all tenants: a telephone number has one owner
    _flow_reference(),
    Index(None, "tenant_id", "flow_id"),
)

number_assignments = Table(
    "assignments",
    metadata,
    _tenant_column(),
    Column("number", String(16), primary_key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),  # counts from 1
    Column("flow_id", String(64)),  # none: unassigned
    Column("by", String(24), nullable=False),
    _instant("at"),
)

number_provisioning = Table(
    "registrations",
    metadata,
    _tenant_column(),
    Column("number", String(16), primary_key=True),  # no reference: it outlives the number until all is put back
    Column("wanted", Boolean, nullable=False),  # our webhooks; or else what was there before
    Column("revision", Integer, nullable=False),  # raised whenever something is wanted anew
    Column("state", String(12), nullable=False),
    Column("problem", Text, nullable=False),
    Column("account", String(34)),  # of Twilio, where the number was found; none: nothing was touched there
    Column("former", Text),  # JSON: what was there before us
    Column("made", Text),  # JSON: what we have put there
    _instant("since", optional=True),  # when ours were last certain to be there
    Column("attempts", Integer, nullable=False),  # that failed, one after the other
    _instant("due", optional=True),  # none: nothing is to be done
    Column("holder", String(32)),  # who is at it
    _instant("lease", optional=True),  # until when nobody else may
    _instant("changed"),
    Index(None, "due"),
    Index(None, "number"),
)

departments = Table(
    "departments",
    metadata,
    _tenant_column(),
    Column("name", String(64), primary_key=True),
    Column("settings", Text, nullable=False),  # JSON
    _instant("changed"),
)

secrets = Table(
    "secrets",
    metadata,
    _tenant_column(),
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),  # encrypted
    _instant("changed"),
)

sounds = Table(
    "sounds",
    metadata,
    _tenant_column(),
    Column("name", String(64), primary_key=True),
    Column("mulaw", LargeBinary, nullable=False),
    _instant("changed"),
)

rates = Table(
    "rates",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("tenant_id", String(40), ForeignKey("tenants.id", ondelete="CASCADE")),  # none: everybody's default
    Column("tier", String(12), nullable=False),
    Column("micro_usd_per_minute", BigInteger, nullable=False),
    _instant("begins"),
    Column("by", String(24), nullable=False),
    _instant("created"),
    Index(None, "tenant_id", "tier", "begins"),
)

calls = Table(
    "calls",
    metadata,
    Column("tenant_id", String(40), ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("id", String(34), primary_key=True),
    Column("account", String(34), nullable=False),
    Column("number", String(16), nullable=False),
    Column("caller", String(16), nullable=False),
    Column("flow_id", String(64), nullable=False),
    Column("version", Integer),  # none: it was turned away before a flow began
    Column("revision", Integer, nullable=False),  # counts what was saved of the call: a later one replaces
    Column("generation", Integer, nullable=False),  # counts its streams: what an older one saves is refused
    _instant("due", optional=True),  # past it, with no word of the call, it is over
    Column("told", String(12)),  # what Twilio has told of its end
    _instant("started"),
    _instant("ended", optional=True),
    Column("outcome", String(20), nullable=False),
    Column("disposition", String(200), nullable=False),
    Column("department", String(64), nullable=False),
    Column("billed", BigInteger, nullable=False),  # microseconds
    Column("micro_usd", BigInteger, nullable=False),
    Column("state", Text),  # encrypted JSON: what another stream needs to go on; none once it has ended
    Column("speech", Text),  # JSON: what each provider of speech did for it
    Index(None, "tenant_id", "started"),
    Index(None, "tenant_id", "flow_id", "started"),
    Index(None, "tenant_id", "number", "started"),
    Index(None, "id"),
)
Index(
    "ix_calls_live", calls.c.tenant_id, sqlite_where=calls.c.ended.is_(None), postgresql_where=calls.c.ended.is_(None)
)
Index("ix_calls_ended", calls.c.ended)
Index("ix_calls_due", calls.c.due, sqlite_where=calls.c.ended.is_(None), postgresql_where=calls.c.ended.is_(None))
Index(
    "ix_calls_kept", calls.c.ended, sqlite_where=calls.c.state.is_not(None), postgresql_where=calls.c.state.is_not(None)
)

usage = Table(
    "usage",
    metadata,
    Column("tenant_id", String(40), primary_key=True),
    Column("call_id", String(34), primary_key=True),
    Column("segment", Integer, primary_key=True, autoincrement=False),  # counts from 0
    Column("number", String(16), nullable=False),
    Column("flow_id", String(64), nullable=False),
    Column("tier", String(12), nullable=False),
    _instant("at"),  # when the call began: a call belongs to one day
    Column("billed", BigInteger, nullable=False),  # microseconds
    Column("rate", BigInteger, nullable=False),  # micro-USD a minute
    Column("micro_usd", BigInteger, nullable=False),
    ForeignKeyConstraint(["tenant_id", "call_id"], ["calls.tenant_id", "calls.id"], ondelete="CASCADE"),
    Index(None, "tenant_id", "at"),
)

call_events = Table(
    "call_events",
    metadata,
    Column("tenant_id", String(40), primary_key=True),
    Column("call_id", String(34), primary_key=True),
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("type", String(40), nullable=False),
    _instant("at"),
    Column("flow_id", String(64), nullable=False),
    Column("data", Text, nullable=False),  # JSON
    # Parts of the data by which the analytics count.
    Column("node", String(64)),
    Column("exit", String(64)),
    Column("latency", Integer),  # milliseconds
    ForeignKeyConstraint(["tenant_id", "call_id"], ["calls.tenant_id", "calls.id"], ondelete="CASCADE"),
    Index(None, "tenant_id", "type", "at"),
)

call_logs = Table(
    "call_logs",
    metadata,
    Column("tenant_id", String(40), primary_key=True),
    Column("call_id", String(34), primary_key=True),
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("log", LargeBinary, nullable=False),  # JSON lines, compressed, as they were saved: for replay
    ForeignKeyConstraint(["tenant_id", "call_id"], ["calls.tenant_id", "calls.id"], ondelete="CASCADE"),
)

recordings = Table(
    "recordings",
    metadata,
    _tenant_column(),
    Column("id", String(32), primary_key=True),
    Column("call_id", String(34), nullable=False),  # no reference: the call may be written later
    Column("kind", String(10), nullable=False),
    Column("channels", Integer, nullable=False),
    _instant("started"),
    Column("seconds", Float, nullable=False),
    Column("state", String(10), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("object", String(300), nullable=False),  # the path of the whole; empty while there are only pieces
    Index(None, "tenant_id", "started"),
    Index(None, "tenant_id", "call_id"),
)
Index(
    "ix_recordings_writing",
    recordings.c.started,
    sqlite_where=recordings.c.state == "writing",
    postgresql_where=recordings.c.state == "writing",
)

prompts = Table(
    "prompts",
    metadata,
    _tenant_column(),
    Column("id", String(64), primary_key=True),  # the address of its content
    Column("tier", String(12), nullable=False),
    Column("voice", Text, nullable=False),  # JSON
    Column("sentence", Text, nullable=False),
    Column("characters", Integer, nullable=False),
    Column("state", String(10), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),  # that failed, since the last that did not
    Column("problem", Text, nullable=False),
    _instant("due", optional=True),  # when it may be rendered; none: it is
    _instant("claimed_until", optional=True),  # until when nobody else renders it
    _instant("wanted"),  # when an active version was last seen to say it
    _instant("made", optional=True),
    Index(None, "wanted"),
)
Index(
    "ix_prompts_due",
    prompts.c.tenant_id,
    prompts.c.due,
    sqlite_where=prompts.c.due.is_not(None),
    postgresql_where=prompts.c.due.is_not(None),
)

processes = Table(
    "processes",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", String(40), nullable=False),
    _instant("started"),
    _instant("seen"),
    Column("capacity", Integer, nullable=False),
    Column("live_calls", Integer, nullable=False),
    Column("calls_per_second", Float, nullable=False),
    Column("lag_ms", Float, nullable=False),
    Column("draining", Boolean, nullable=False),
)

audit_log = Table(
    "audit",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("tenant_id", String(40)),  # no reference: it outlives the tenant; none: the platform's
    _instant("at"),
    Column("key_id", String(24), nullable=False),
    Column("role", String(10), nullable=False),
    Column("request", String(64), nullable=False),
    Column("action", String(40), nullable=False),
    Column("target", String(200), nullable=False),
    Column("before", Text),  # JSON
    Column("after", Text),  # JSON
    Index(None, "tenant_id", "at"),
)
