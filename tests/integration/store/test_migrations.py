"""Migrations make exactly the schema, keep every row, and protect the audit log."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import delete, insert, inspect, text, update
from sqlalchemy.exc import IntegrityError

from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db import migrate
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import metadata, tenants

NOW = 1_700_000_000_000_000
FIRST_RELEASE = "0001"  # the revision of 0.1.0
TENANT = {
    "id": "harbour",
    "name": "Harbour Tools",
    "settings": "{}",
    "revision": 7,
    "suspended": False,
    "created_at": NOW,
}
FIRST_RELEASE_ROWS = {
    "tenants": TENANT,
    "api_keys": {
        "id": "key1",
        "tenant_id": "harbour",
        "role": "admin",
        "label": "Office",
        "digest": "0" * 64,
        "created_by": "key0",
        "created_at": NOW,
        "expires_at": NOW + 3,
        "last_used_at": NOW + 1,
        "revoked_at": NOW + 2,
    },
    "flows": {
        "tenant_id": "harbour",
        "id": "desk",
        "name": "Desk",
        "draft": b"{\x00}",
        "revision": 3,
        "active_version": 1,
        "pause_settings": "{}",
        "created_at": NOW,
        "updated_at": NOW + 1,
    },
    "flow_versions": {
        "tenant_id": "harbour",
        "flow_id": "desk",
        "number": 1,
        "content_hash": "0123456789abcdef",
        "document": b"{}",
        "subflows": "{}",
        "voice": "{}",
        "note": "the first",
        "promoted_by": "key1",
        "promoted_at": NOW,
    },
    "numbers": {
        "tenant_id": "harbour",
        "number": "+13072249663",
        "flow_id": "desk",
        "fallback_number": "+13105550199",
        "label": "Office",
        "account_sid": "AC" + "1" * 32,
        "created_at": NOW,
    },
    "number_assignments": {
        "tenant_id": "harbour",
        "number": "+13072249663",
        "position": 1,
        "flow_id": "desk",
        "created_by": "key1",
        "created_at": NOW,
    },
    "number_provisioning": {
        "tenant_id": "harbour",
        "number": "+13072249663",
        "desired": True,
        "revision": 2,
        "state": "failed",
        "error": "refused",
        "account_sid": "AC" + "1" * 32,
        "previous": "{}",
        "applied": "{}",
        "verified_at": NOW,
        "failed_attempts": 4,
        "due_at": NOW + 1,
        "lease_owner": "one",
        "lease_until": NOW + 2,
        "updated_at": NOW,
    },
    "departments": {"tenant_id": "harbour", "name": "sales", "settings": "{}", "updated_at": NOW},
    "secrets": {"tenant_id": "harbour", "name": "crm", "value": "encrypted", "updated_at": NOW},
    "sounds": {"tenant_id": "harbour", "name": "jingle", "mulaw": b"\x00\xff", "updated_at": NOW},
    "rates": {
        "id": "rate1",
        "tenant_id": "harbour",
        "tier": "azure",
        "micro_usd_per_minute": 80_000,
        "effective_at": NOW,
        "created_by": "key1",
        "created_at": NOW,
    },
    "calls": {
        "tenant_id": "harbour",
        "id": "CA1",
        "account_sid": "AC" + "1" * 32,
        "number": "+13072249663",
        "caller": "+13105550142",
        "flow_id": "desk",
        "version": 1,
        "revision": 5,
        "generation": 2,
        "due_at": NOW + 1,
        "status_report": "disconnected",
        "started_at": NOW,
        "ended_at": NOW + 60_000_000,
        "outcome": "completed",
        "disposition": "sold",
        "department": "sales",
        "billed_microseconds": 60_000_000,
        "cost_micro_usd": 80_000,
        "resume_state": "encrypted",
        "provider_usage": "{}",
    },
    "usage": {
        "tenant_id": "harbour",
        "call_id": "CA1",
        "segment": 0,
        "number": "+13072249663",
        "flow_id": "desk",
        "tier": "azure",
        "started_at": NOW,
        "billed_microseconds": 60_000_000,
        "micro_usd_per_minute": 80_000,
        "cost_micro_usd": 80_000,
    },
    "call_events": {
        "tenant_id": "harbour",
        "call_id": "CA1",
        "generation": 1,
        "seq": 1,
        "type": "node.left",
        "occurred_at": NOW,
        "flow_id": "desk",
        "data": "{}",
        "node": "greet",
        "exit": "next",
        "latency_ms": 420,
    },
    "call_logs": {"tenant_id": "harbour", "call_id": "CA1", "generation": 1, "revision": 2, "log": b"\x00log"},
    "recordings": {
        "tenant_id": "harbour",
        "id": "r1",
        "call_id": "CA1",
        "kind": "voicemail",
        "channels": 1,
        "started_at": NOW,
        "duration_seconds": 1.5,
        "state": "complete",
        "size_bytes": 12_000,
        "object_path": "harbour/r1.wav",
    },
    "prompts": {
        "tenant_id": "harbour",
        "id": "p1",
        "tier": "azure",
        "voice": "{}",
        "sentence": "Good day.",
        "characters": 9,
        "state": "ready",
        "size_bytes": 8_000,
        "failed_attempts": 1,
        "unfinished_attempts": 2,
        "error": "refused",
        "due_at": NOW,
        "lease_owner": "one",
        "lease_until": NOW + 1,
        "last_referenced_at": NOW,
        "rendered_at": NOW,
    },
    "processes": {
        "id": "one",
        "host": "left",
        "pid": 7,
        "version": "0.1.0",
        "started_at": NOW,
        "last_seen_at": NOW + 1,
        "capacity": 200,
        "live_calls": 3,
        "calls_per_second": 0.5,
        "event_loop_lag_ms": 1.5,
        "draining": True,
    },
    "audit_log": {
        "id": "entry1",
        "tenant_id": "harbour",
        "occurred_at": NOW,
        "key_id": "key1",
        "role": "admin",
        "request_id": "r1",
        "action": "flow.promoted",
        "target": "desk",
        "before": "{}",
        "after": '{"a": 1}',
    },
}
"""A row for every table of 0.1.0, in an order that satisfies the foreign keys; values of nullable columns included."""


@pytest.fixture(params=["sqlite", "postgresql"])
async def empty_database(request, tmp_path):
    """A database without tables."""
    postgres = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    url = await postgres.create_database() if postgres else f"sqlite+aiosqlite:///{tmp_path}/empty.db"
    database = Database(url)
    yield database
    await database.aclose()
    if postgres:
        await postgres.drop_database(url)


async def list_tables(database):
    async with database.read() as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names())) - {"alembic_version"}


def schema_differences(connection):
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return compare_metadata(context, metadata)


async def select_all(database, *tables):
    """The rows of tables as dicts, whatever columns the tables have at this revision."""
    async with database.read() as connection:
        return {
            table: [dict(row) for row in (await connection.execute(text(f"SELECT * FROM {table}"))).mappings()]  # noqa: S608
            for table in tables
        }


async def audited_actions(database):
    return [row["action"] for row in (await select_all(database, "audit_log"))["audit_log"]]


async def test_migrations_make_exactly_the_tables_of_the_schema(database):
    async with database.read() as connection:
        assert await connection.run_sync(schema_differences) == []
    assert await list_tables(database) == set(metadata.tables)


async def test_downgrade_to_base_drops_everything_and_upgrade_restores_tables_and_triggers(empty_database):
    await empty_database.migrate()
    await empty_database.migrate("base")
    assert await list_tables(empty_database) == set()
    await empty_database.migrate()
    async with empty_database.read() as connection:
        assert await connection.run_sync(schema_differences) == []
    with pytest.raises(IntegrityError):
        await audit_then(empty_database, delete(metadata.tables["audit_log"]))


async def test_upgrade_from_the_first_release_keeps_every_row_of_every_table(empty_database):
    await empty_database.migrate(FIRST_RELEASE)
    assert await list_tables(empty_database) == set(FIRST_RELEASE_ROWS)
    async with empty_database.transaction() as connection:
        for table, row in FIRST_RELEASE_ROWS.items():
            columns, values = ", ".join(row), ", ".join(f":{name}" for name in row)
            await connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({values})"), row)  # noqa: S608
    before = await select_all(empty_database, *FIRST_RELEASE_ROWS)
    nullable = {"account_sid", "auth_token"}  # of a tenant; every other column has a value
    for table, row in FIRST_RELEASE_ROWS.items():
        (kept,) = before[table]
        assert {name: kept[name] for name in row} == row
        assert kept.keys() - row.keys() == (nullable if table == "tenants" else set())
    await empty_database.migrate()
    after = await select_all(empty_database, *FIRST_RELEASE_ROWS)
    for table, (row,) in before.items():
        assert {name: value for name, value in after[table][0].items() if name in row} == row
        assert len(after[table]) == 1
    async with empty_database.read() as connection:
        assert await connection.run_sync(schema_differences) == []
    assert await audited_actions(empty_database) == ["flow.promoted"]


async def test_steps_down_to_the_first_release_and_up_again_keep_its_rows(database):
    steps = len([*(migrate.MIGRATIONS_DIR / "versions").glob("[0-9]*.py")])
    async with database.transaction() as connection:
        await connection.execute(insert(tenants), TENANT)
    if steps > 1:
        await database.migrate(f"-{steps - 1}")
    assert await list_tables(database) == set(FIRST_RELEASE_ROWS)
    assert await database.get_revision() == FIRST_RELEASE
    await database.migrate()
    assert len((await select_all(database, "tenants"))["tenants"]) == 1


async def test_migrating_again_changes_nothing(database):
    await database.migrate()
    assert await list_tables(database) == set(metadata.tables)


@pytest.mark.parametrize(
    "change",
    [update(metadata.tables["audit_log"]).values(action="x"), delete(metadata.tables["audit_log"])],
    ids=["update", "delete"],
)
async def test_audit_entries_cannot_be_updated_or_deleted(database, change):
    with pytest.raises(IntegrityError, match="audit_log is append-only"):
        await audit_then(database, change)
    assert await audited_actions(database) == ["api_key.created"]


async def test_audit_entries_cannot_be_replaced_or_truncated(database):
    row = "SELECT id, tenant_id, occurred_at, key_id, role, request_id, 'x', target, before, after FROM audit_log"
    trick = f"INSERT OR REPLACE INTO audit_log {row}" if database.is_sqlite else "TRUNCATE audit_log"
    with pytest.raises(IntegrityError, match="audit_log is append-only"):
        await audit_then(database, text(trick))
    assert await audited_actions(database) == ["api_key.created"]


async def audit_then(database, statement):
    """Add an audit entry, unless there is one, then execute the statement."""
    if not await audited_actions(database):
        async with database.transaction() as connection:
            await Actor("key1", "admin", "harbour", "r1", NOW).audit(connection, "api_key.created", "key2")
    async with database.transaction() as connection:
        await connection.execute(statement)
