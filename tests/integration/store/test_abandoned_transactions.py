"""Transactions that are given up: they release their locks at once, whoever still refers to their connection."""

import asyncio
import gc
import sqlite3
from contextlib import asynccontextmanager, suppress

import pytest
from sqlalchemy import make_url, text

from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.store.db.database import NO_POOL_OPTIONS, Database
from vocelio.gateway.store.db.sqlite import LOCK_TIMEOUT_SECONDS

NUMBERS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 100000000)"  # takes ten seconds
COLUMNS = "INSERT INTO audit_log (id, occurred_at, key_id, role, request_id, action, target)"
INSERT = f"{COLUMNS} VALUES "
ROW = "('{}', 1, '', '', '', '', '')"
SOON_SECONDS = 1.5  # less than any driver waits for a lock


@pytest.fixture(autouse=True)
def no_garbage_collection():
    """Connections must not depend on the garbage collector: an idle process does not run it for hours."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def slow_query(database):
    """Select for longer than any test waits."""
    return text(f"{NUMBERS} SELECT max(x) FROM c" if database.is_sqlite else "SELECT pg_sleep(20)")  # noqa: S608


def slow_insert(database, returning=""):
    """Insert a row whose computation takes longer than any test waits."""
    if database.is_sqlite:
        return text(f"{COLUMNS} {NUMBERS} SELECT 'a', max(x), '', '', '', '', '' FROM c {returning}")  # noqa: S608
    return text(f"{COLUMNS} SELECT 'a', 1, '', '', '', '', '' FROM pg_sleep(20) {returning}")  # noqa: S608


async def insert_then_slow(database, connection):
    await connection.execute(text(INSERT + ROW.format("a")))
    await connection.execute(slow_query(database))


async def returning_then_slow(database, connection):
    rows = await connection.execute(text(f"{INSERT}{ROW.format('a')}, {ROW.format('b')} RETURNING id"))
    rows.first()
    await connection.execute(slow_query(database))


async def slow_returning(database, connection):
    await connection.execute(slow_insert(database, "RETURNING id"))


async def slow_insert_only(database, connection):
    await connection.execute(slow_insert(database))


async def insert_then_idle(database, connection):
    await connection.execute(text(INSERT + ROW.format("a")))
    await asyncio.sleep(60)


WORK = [insert_then_slow, returning_then_slow, slow_returning, slow_insert_only, insert_then_idle]


async def write(database):
    """Write the row that the abandoned transaction has written, for which its lock is needed."""
    async with asyncio.timeout(SOON_SECONDS), database.transaction() as connection:
        await connection.execute(text(INSERT + ROW.format("a")))


async def row_count(database):
    async with database.read() as connection:
        return (await connection.execute(text("SELECT count(*) FROM audit_log"))).scalar()


@pytest.mark.parametrize("work", WORK)
async def test_transaction_that_takes_too_long_releases_its_locks(database, work):
    async def transaction():
        async with database.transaction() as connection:
            await work(database, connection)

    with pytest.raises(DatabaseUnavailable):
        await database.with_timeout(transaction(), 0.3)
    await write(database)
    assert await row_count(database) == 1


@pytest.mark.parametrize("cancellations", [1, 2, 5])
@pytest.mark.parametrize("work", WORK)
async def test_transaction_that_is_cancelled_repeatedly_releases_its_locks(database, work, cancellations):
    task = await start(database, work)
    for _ in range(cancellations):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    await write(database)
    assert await row_count(database) == 1


async def start(database, work):
    """Start a transaction; return when its connection has one and the work has begun."""
    begun = asyncio.Event()

    async def transaction():
        async with database.transaction() as connection:
            asyncio.get_running_loop().call_later(0.1, begun.set)
            await work(database, connection)

    task = asyncio.create_task(transaction())
    await begun.wait()
    return task


async def test_cancellation_while_waiting_for_a_lock_takes_none(database):
    holder = await start(database, insert_then_idle)
    waiting = asyncio.create_task(write(database))
    await asyncio.sleep(0.2)
    waiting.cancel()
    await asyncio.sleep(0)
    holder.cancel()
    for task in (waiting, holder):
        with suppress(asyncio.CancelledError):
            await task
    await write(database)
    assert await row_count(database) == 1


async def test_cancellation_at_any_moment_of_a_commit_leaves_no_lock(database):
    """A commit that is cancelled is made, or it is not: the next one can follow in both cases."""
    for turns in range(25):  # of the event loop: BEGIN, INSERT, COMMIT and the return to the pool take fewer

        async def transaction(row=turns):
            async with database.transaction() as connection:
                await connection.execute(text(INSERT + ROW.format(row)))

        task = asyncio.create_task(transaction())
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        async with asyncio.timeout(SOON_SECONDS), database.transaction() as connection:
            await connection.execute(text(INSERT + ROW.format(f"after {turns}")))
    assert 25 <= await row_count(database) <= 50


async def test_read_that_is_cancelled_blocks_no_write_and_no_checkpoint(database):
    async def read():
        async with database.read() as connection:
            await connection.execute(slow_query(database))

    with pytest.raises(DatabaseUnavailable):
        await database.with_timeout(read(), 0.2)
    await write(database)
    if database.is_sqlite:
        async with database.read() as connection:
            busy, *_ = (await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")).one()
        assert busy == 0


async def test_cancelled_tasks_return_their_place_in_the_pool(database_url):
    async with opened(database_url, {"pool_size": 1, "max_overflow": 0, "pool_timeout": 1.0}) as database:
        for work in WORK:
            task = await start(database, work)
            waiting = asyncio.create_task(write(database))
            await asyncio.sleep(0)
            waiting.cancel()  # while it waits for the connection
            task.cancel()
            for ended in (task, waiting):
                with suppress(asyncio.CancelledError):
                    await ended
        await write(database)


async def test_dedicated_connection_that_is_discarded_while_busy_is_closed(database):
    connection = await database.open_dedicated()
    busy = asyncio.create_task(connection.execute(slow_query(database)))
    await asyncio.sleep(0.2)
    busy.cancel()
    with suppress(asyncio.CancelledError):
        await busy
    database.discard(connection)
    await write(database)


@asynccontextmanager
async def opened(url, pool_options=NO_POOL_OPTIONS):
    database = Database(url, pool_options)
    try:
        yield database
    finally:
        await database.aclose()


class TestHeldWriteLock:
    @pytest.fixture
    async def sqlite_url(self, migrated_databases, tmp_path):
        return await migrated_databases.sqlite(tmp_path)

    async def test_log_names_the_transaction_that_holds_it(self, sqlite_url, caplog):
        async with opened(sqlite_url) as database:
            holder = await start(database, insert_then_idle)
            with pytest.raises(DatabaseUnavailable):
                async with database.transaction():
                    pass
            holder.cancel()
            with suppress(asyncio.CancelledError):
                await holder
        (message,) = [m for m in caplog.messages if m.startswith("database is locked")]
        assert f"gave up after {LOCK_TIMEOUT_SECONDS:.0f}" in message
        assert "start.<locals>.transaction holds it" in message

    async def test_log_tells_of_another_process(self, sqlite_url, caplog):
        other = sqlite3.connect(make_url(sqlite_url).database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        async with opened(sqlite_url) as database:
            with pytest.raises(DatabaseUnavailable):
                async with database.transaction():
                    pass
        other.close()
        (message,) = [m for m in caplog.messages if m.startswith("database is locked")]
        assert "another process" in message
