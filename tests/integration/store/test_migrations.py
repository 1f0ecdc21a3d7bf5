"""The tables' steps: up, down, up again, with data kept; and the trail of changes, which the database itself guards."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import delete, insert, inspect, select, text, update
from sqlalchemy.exc import IntegrityError

from vocelio.gateway.store.audit.actor import Actor
from vocelio.gateway.store.db import migrate
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import audit_log, calls, flow_versions, flows, metadata, tenants

NOW = 1_700_000_000_000_000
TENANT = {"id": "harbour", "name": "Harbour Tools", "settings": "{}", "revision": 7, "suspended": False, "created": NOW}
FLOW = {
    "tenant_id": "harbour",
    "id": "desk",
    "name": "Desk",
    "draft": b"{\x00}",
    "revision": 3,
    "created": NOW,
    "changed": NOW,
}
VERSION = {
    "tenant_id": "harbour",
    "flow_id": "desk",
    "number": 1,
    "content": "0123456789abcdef",
    "document": b"{}",
    "subflows": "{}",
    "voice": "{}",
    "note": "the first",
    "promoted_by": "key1",
    "promoted": NOW,
}


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


async def test_the_steps_make_exactly_the_tables_of_the_schema(database):
    async with database.read() as connection:
        assert await connection.run_sync(schema_differences) == []
    assert await list_tables(database) == set(metadata.tables)


async def test_up_down_and_up_again(empty_database):
    await empty_database.migrate()
    await empty_database.migrate("base")
    assert await list_tables(empty_database) == set()
    await empty_database.migrate()
    async with empty_database.read() as connection:
        assert await connection.run_sync(schema_differences) == []
    with pytest.raises(IntegrityError):  # with its triggers
        await audit_then(empty_database, delete(audit_log))


async def test_what_the_first_release_kept_is_kept(empty_database):
    await empty_database.migrate("0001")
    async with empty_database.transaction() as connection:
        for table, row in ((tenants, TENANT), (flows, FLOW), (flow_versions, VERSION)):
            await connection.execute(insert(table), row)
        await Actor("key1", "admin", "harbour", "r1", NOW).audit(connection, "flow.promoted", "desk", after={"a": 1})
    before = await audit_rows(empty_database, tenants, flows, flow_versions, audit_log)
    await empty_database.migrate()
    assert await audit_rows(empty_database, tenants, flows, flow_versions, audit_log) == before
    assert await audit_rows(empty_database, calls) == []


async def test_steps_down_and_up_keep_what_they_do_not_touch(database):
    steps = len([*(migrate.MIGRATIONS_DIR / "versions").glob("[0-9]*.py")])
    async with database.transaction() as connection:
        await connection.execute(insert(tenants), TENANT)
    await database.migrate(f"-{steps - 1}")
    assert not {"calls", "prompts", "recordings", "registrations"} & await list_tables(database)
    await database.migrate()
    assert len(await audit_rows(database, tenants)) == 1


async def test_migrating_again_changes_nothing(database):
    await database.migrate()
    assert await list_tables(database) == set(metadata.tables)


@pytest.mark.parametrize("change", [update(audit_log).values(action="x"), delete(audit_log)], ids=["update", "delete"])
async def test_the_trail_is_neither_changed_nor_deleted(database, change):
    with pytest.raises(IntegrityError, match="only ever added to"):
        await audit_then(database, change)
    assert [row.action for row in await audit_rows(database, audit_log)] == ["key.created"]


async def test_the_trail_is_not_replaced_or_emptied(database):
    row = "SELECT id, tenant_id, at, key_id, role, request, 'x', target, before, after FROM audit"
    trick = f"INSERT OR REPLACE INTO audit {row}" if database.is_sqlite else "TRUNCATE audit"
    with pytest.raises(IntegrityError, match="only ever added to"):
        await audit_then(database, text(trick))
    assert [row.action for row in await audit_rows(database, audit_log)] == ["key.created"]


async def audit_then(database, statement):
    """Add to the trail, then try that."""
    if not await audit_rows(database, audit_log):
        async with database.transaction() as connection:
            await Actor("key1", "admin", "harbour", "r1", NOW).audit(connection, "key.created", "key2")
    async with database.transaction() as connection:
        await connection.execute(statement)


async def audit_rows(database, *wanted):
    async with database.read() as connection:
        return [row for table in wanted for row in await connection.execute(select(table))]
