"""Write-behind call store: everything that is saved is stored once, whatever the database does meanwhile."""

import asyncio
import sqlite3
import zlib

import pytest
from sqlalchemy import func, insert, select

from tests.integration.conftest import NOW
from tests.support.faulty_tcp_proxy import FaultyTcpProxy
from tests.support.postgres_server import tcp_url
from tests.support.tenant_fixtures import CIPHER
from vocelio.gateway.events import Event
from vocelio.gateway.store.calls.interface import Segment, StoredCall
from vocelio.gateway.store.calls.write_behind import WriteBehindCallStore
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import call_events, call_logs, calls, tenants, usage


async def create_tenant(database, name="harbour"):
    async with database.transaction() as connection:
        row = {"id": name, "name": name, "settings": "{}", "revision": 1, "suspended": False, "created_at": NOW}
        await connection.execute(insert(tenants), row)


def make_call(number=1, revision=1, **parts):
    facts = {
        "tenant": "harbour",
        "id": f"CA{number:032x}",
        "account_sid": "AC" + "0" * 32,
        "number": "+13072249663",
        "caller": "+13105550142",
        "flow": "front-desk",
        "version": 3,
        "revision": revision,
        "generation": 1,
        "started_at": NOW,
    }
    return StoredCall(**facts | parts)


def make_ended_call(number=1, revision=2, seconds=60, **parts):
    segments = (Segment("azure", seconds * 1_000_000, 80_000, 80_000), Segment("local", 1_000_000, 0, 0))
    facts = {"ended_at": NOW + 1, "outcome": "completed", "segments": segments, "log": b"line\n" * 100}
    return make_call(number, revision, **facts | parts)


def make_event(seq, number=1, kind="node.entered", **data):
    return Event(
        tenant="harbour",
        call=f"CA{number:032x}",
        generation=1,
        sequence=seq,
        type=kind,
        occurred_at=NOW + seq,
        data=data,
    )


async def select_rows(database, table, *where):
    async with database.read() as connection:
        return (await connection.execute(select(table).where(*where))).all()


async def count_rows(database, table):
    async with database.read() as connection:
        return (await connection.execute(select(func.count()).select_from(table))).scalar()


@pytest.fixture
async def call_store(database):
    await create_tenant(database)
    store = WriteBehindCallStore(database, CIPHER)
    await store.start()
    yield store
    await store.aclose()


async def save_and_wait(store, saved):
    """Save, and wait until it, or a later state, is committed."""
    done = asyncio.Event()
    store.save(saved, done.set, done.set)
    await asyncio.wait_for(done.wait(), 20)


async def test_call_is_saved_with_timeline_usage_and_log(database, call_store):
    call_store.save(make_call(resume_state=b'{"checkpoint": null}'))
    call_store.append_event(make_event(1, node="greet", type="say"), "front-desk")
    call_store.append_event(make_event(2, kind="prompt.started", node="greet", latency_ms=420), "front-desk")
    call_store.append_event(make_event(3, kind="node.left", node="greet", exit="next"), "front-desk")
    await save_and_wait(call_store, make_ended_call())
    await call_store.aclose()
    (kept,) = await select_rows(database, calls)
    assert (kept.outcome, kept.version, kept.billed_microseconds, kept.cost_micro_usd) == (
        "completed",
        3,
        61_000_000,
        80_000,
    )
    assert (kept.started_at, kept.ended_at, kept.resume_state) == (NOW, NOW + 1, None)
    events = await select_rows(database, call_events)
    assert [
        (reported.seq, reported.type, reported.node, reported.exit, reported.latency_ms) for reported in events
    ] == [
        (1, "node.entered", "greet", None, None),
        (2, "prompt.started", "greet", None, 420),
        (3, "node.left", "greet", "next", None),
    ]
    assert [(part.segment, part.tier, part.cost_micro_usd) for part in await select_rows(database, usage)] == [
        (0, "azure", 80_000),
        (1, "local", 0),
    ]
    ((*_, log),) = await select_rows(database, call_logs)
    assert zlib.decompress(log) == b"line\n" * 100


async def test_earlier_revision_never_replaces_a_later_one(database, call_store):
    await save_and_wait(call_store, make_ended_call(revision=5))
    await save_and_wait(call_store, make_call(revision=4))
    ((outcome, revision),) = [(kept.outcome, kept.revision) for kept in await select_rows(database, calls)]
    assert (outcome, revision) == ("completed", 5)


async def test_many_calls_are_committed_in_groups(database, call_store):
    async with asyncio.timeout(30):
        await asyncio.gather(*(save_and_wait(call_store, make_ended_call(number)) for number in range(500)))
    assert await count_rows(database, calls) == 500
    assert await count_rows(database, usage) == 1_000


async def test_refused_row_does_not_block_the_others(database, call_store, caplog):
    stranger = make_call(number=2, tenant="nobody")
    call_store.save(stranger)
    call_store.append_event(make_event(1), "front-desk")
    await save_and_wait(call_store, make_ended_call())
    await call_store.aclose()
    assert [kept.tenant_id for kept in await select_rows(database, calls)] == ["harbour"]
    assert await count_rows(database, call_events) == 1
    assert call_store.dropped == 1
    assert "the database refused a row" in caplog.text


async def test_repeated_saves_are_stored_once(database, call_store):
    await save_and_wait(call_store, make_ended_call())
    for _ in range(2):
        call_store.append_event(make_event(1), "front-desk")
        await save_and_wait(call_store, make_ended_call())
    await call_store.aclose()
    assert (await count_rows(database, call_events), await count_rows(database, usage)) == (1, 2)


async def locked_database(url, seconds):
    """Another program holds the SQLite file for itself."""

    def hold(release):
        connection = sqlite3.connect(url.removeprefix("sqlite+aiosqlite:///"), check_same_thread=False)
        connection.execute("BEGIN EXCLUSIVE")
        return connection

    connection = await asyncio.to_thread(hold, None)
    await asyncio.sleep(seconds)
    connection.rollback()
    connection.close()


async def test_locked_sqlite_file_delays_the_commit(database_url, database, call_store):
    if not database.is_sqlite:
        return
    lock = asyncio.create_task(locked_database(database_url, 4))
    await asyncio.sleep(0.2)
    done = asyncio.Event()
    call_store.save(make_ended_call(), done.set)
    call_store.append_event(make_event(1), "front-desk")
    await asyncio.sleep(1)
    assert not done.is_set()
    await lock
    await asyncio.wait_for(done.wait(), 10)
    assert await count_rows(database, calls) == 1


@pytest.fixture
async def proxied_database(postgres):
    """A PostgreSQL behind a proxy with faults: its database and the proxy."""
    async with postgres.temporary_database() as url, FaultyTcpProxy(postgres.socket) as proxy:
        database = Database(tcp_url(url, proxy.port))
        await database.migrate()
        await create_tenant(database)
        yield database, proxy
        await proxy.restore()
        await database.aclose()


@pytest.mark.parametrize("fault", ["cut", "stall"])
async def test_database_outage_delays_writes_without_loss_or_duplicates(proxied_database, fault):
    database, proxy = proxied_database
    store = WriteBehindCallStore(database, CIPHER)
    await store.start()
    await save_and_wait(store, make_call())
    done = asyncio.Event()
    await getattr(proxy, fault)()
    store.save(make_ended_call(), done.set)
    for seq in range(1_200):
        store.append_event(make_event(seq), "front-desk")
    await asyncio.sleep(9)
    assert not done.is_set()
    await proxy.restore()
    await asyncio.wait_for(done.wait(), 30)
    await store.aclose()
    assert [kept.cost_micro_usd for kept in await select_rows(database, calls)] == [80_000]
    assert await count_rows(database, call_events) == 1_200
    assert sum(part.cost_micro_usd for part in await select_rows(database, usage)) == 80_000


async def test_close_without_the_database_logs_what_was_lost(proxied_database, caplog):
    database, proxy = proxied_database
    store = WriteBehindCallStore(database, CIPHER)
    await store.start()
    await proxy.cut()
    store.save(make_ended_call())
    await store.aclose()
    assert "1 calls and 0 events were not saved" in caplog.text


async def test_unstorable_text_is_truncated(database, call_store):
    saved = make_ended_call(disposition="a\0b" + "x" * 300)
    call_store.save(saved)
    call_store.append_event(make_event(1, kind="node.left", node="n" * 100, exit="a\0b"), "front-desk")
    await call_store.aclose()
    (kept,) = await select_rows(database, calls)
    assert (kept.disposition[:3], len(kept.disposition), kept.cost_micro_usd) == ("abx", 200, 80_000)
    assert [reported.exit for reported in await select_rows(database, call_events)] == ["ab"]


async def test_refused_save_calls_no_callback(database, call_store):
    done = []
    call_store.save(make_call(number=2, tenant="nobody"), lambda: done.append("nobody"))
    call_store.save(make_call(), lambda: done.append("harbour"))
    await call_store.aclose()
    assert done == ["harbour"]


async def test_event_published_during_close_is_saved(database, call_store):
    call_store.save(make_ended_call(), lambda: call_store.append_event(make_event(1, kind="call.ended"), "front-desk"))
    await call_store.aclose()
    assert await count_rows(database, call_events) == 1


async def test_locked_tenant_row_does_not_block_saves(database, call_store, make_actor):
    if database.is_sqlite:
        return  # one writer at a time: the lock is as short as the change
    async with database.transaction() as connection:
        await connection.execute(select(tenants).where(tenants.c.id == "harbour").with_for_update(key_share=True))
        await save_and_wait(call_store, make_ended_call())


async def test_more_calls_than_one_commit_takes_are_all_saved(database, call_store):
    async with asyncio.timeout(60):
        await asyncio.gather(*(save_and_wait(call_store, make_call(number)) for number in range(2_300)))
    assert await count_rows(database, calls) == 2_300
