"""Connection pools: a bounded number of connections, bounded waits, and pools that do not affect each other."""

import asyncio

import pytest

from vocelio.gateway.errors import Overloaded
from vocelio.gateway.store.db.database import API_POOL, Database


@pytest.fixture
async def make_database(database_url):
    """Makes a Database with a pool of so many connections, each waited for so long."""
    opened = []

    def make(pool_size, timeout_seconds=API_POOL["pool_timeout"]):
        options = API_POOL | {"pool_size": pool_size, "pool_timeout": timeout_seconds}
        opened.append(Database(database_url, options))
        return opened[-1]

    yield make
    for database in opened:
        await database.aclose()


async def test_concurrent_queries_share_the_connections_of_the_pool(make_database):
    database, active, max_active = make_database(8), 0, 0

    async def query():
        nonlocal active, max_active
        async with database.read():
            active += 1
            max_active = max(max_active, active)
            await asyncio.sleep(0.01)
            active -= 1

    await asyncio.gather(*(query() for _ in range(80)))
    assert max_active == 8


async def test_query_without_a_free_connection_in_time_is_overloaded(make_database):
    database, loop = make_database(1, 0.2), asyncio.get_running_loop()
    async with database.read():
        started = loop.time()
        with pytest.raises(Overloaded):
            async with database.read():
                pass
        assert 0.2 <= loop.time() - started < 2.0
        with pytest.raises(Overloaded):
            async with database.transaction():
                pass
    async with asyncio.timeout(1), database.read():
        pass


async def test_connection_is_held_only_while_it_is_used(make_database):
    database, released, resume = make_database(1, 0.05), asyncio.Event(), asyncio.Event()

    async def request():
        async with database.read():
            pass
        released.set()
        await resume.wait()  # for storage, or for another process
        async with database.read():
            pass

    waiting = asyncio.create_task(request())
    await released.wait()
    async with database.read():
        resume.set()
        with pytest.raises(Overloaded):
            await waiting
    await request()


async def test_canceled_query_that_waits_for_a_connection_takes_none(make_database):
    database = make_database(1)

    async def query():
        async with database.read():
            await asyncio.sleep(0.2)

    first, second = asyncio.create_task(query()), asyncio.create_task(query())
    await asyncio.sleep(0.1)
    second.cancel()
    await first
    async with asyncio.timeout(1), database.read():
        pass


async def test_exhausted_pool_does_not_affect_another_one(make_database):
    api_database, call_database = make_database(1, 0.05), make_database(1, 0.05)
    async with api_database.transaction():
        with pytest.raises(Overloaded):
            async with api_database.read():
                pass
        async with call_database.read() as connection:
            assert (await connection.exec_driver_sql("SELECT 1")).scalar() == 1
