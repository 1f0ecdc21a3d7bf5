"""Fixtures of all tests: PostgreSQL, Redis and databases, each started by the first test that needs it."""

import pytest
from hypothesis import settings

from tests.support.migrated_database import MigratedDatabases
from tests.support.postgres_server import PostgresServer
from tests.support.redis_server import RedisServer
from vocelio.gateway.store.db.database import Database

settings.register_profile("no clock", deadline=None)  # a busy machine can stall longer than any deadline
settings.load_profile("no clock")


@pytest.fixture(scope="session")
def postgres():
    """PostgreSQL server of this test process."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def _redis_server():
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis(_redis_server):
    """Redis server of this test process, restarted if the previous test stopped it."""
    _redis_server.start()
    return _redis_server


@pytest.fixture(scope="session")
def migrated_databases(tmp_path_factory):
    """Factory of migrated databases."""
    return MigratedDatabases(tmp_path_factory.mktemp("tables"))


@pytest.fixture(params=["sqlite", "postgresql"])
async def database_url(request, migrated_databases, tmp_path):
    """URL of a migrated, empty database."""
    if request.param == "sqlite":
        yield await migrated_databases.sqlite(tmp_path)
        return
    postgres = request.getfixturevalue("postgres")
    url = await migrated_databases.postgresql(postgres)
    yield url
    await postgres.drop_database(url)


@pytest.fixture
async def database(database_url):
    """Database of a migrated, empty schema."""
    database = Database(database_url)
    yield database
    await database.aclose()
