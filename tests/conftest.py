"""What any test may ask for: the servers behind the gateway, each started by the first test that needs it."""

import pytest
from hypothesis import settings

from tests.support.migrated_database import MigratedDatabases
from tests.support.postgres_server import PostgresServer
from tests.support.redis_server import RedisServer
from vocelio.gateway.store.db.database import Database

settings.register_profile("no clock", deadline=None)  # a busy machine stands still for longer than any example may take
settings.load_profile("no clock")


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL of this test process alone."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def _redis_server():
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis(_redis_server):
    """A Redis of this test process alone, running whatever the test before did to it."""
    _redis_server.start()
    return _redis_server


@pytest.fixture(scope="session")
def migrated_databases(tmp_path_factory):
    """Makes databases with the tables."""
    return MigratedDatabases(tmp_path_factory.mktemp("tables"))


@pytest.fixture(params=["sqlite", "postgresql"])
async def database_url(request, migrated_databases, tmp_path):
    """The URL of a database with the tables and nothing in them."""
    if request.param == "sqlite":
        yield await migrated_databases.sqlite(tmp_path)
        return
    postgres = request.getfixturevalue("postgres")
    made = await migrated_databases.postgresql(postgres)
    yield made
    await postgres.drop_database(made)


@pytest.fixture
async def database(database_url):
    """The database."""
    database = Database(database_url)
    yield database
    await database.aclose()
