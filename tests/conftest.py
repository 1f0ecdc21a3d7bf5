"""What any test may ask for: the servers behind the gateway, each started by the first test that needs it."""

import pytest
from hypothesis import settings

from tests.postgres import Postgres
from tests.redis import Redis
from tests.tables import Tables
from vocelio.gateway.store.db.database import Database

settings.register_profile("no clock", deadline=None)  # a busy machine stands still for longer than any example may take
settings.load_profile("no clock")


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL of this test process alone."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def _redis():
    with Redis() as server:
        yield server


@pytest.fixture
def redis(_redis):
    """A Redis of this test process alone, running whatever the test before did to it."""
    _redis.start()
    return _redis


@pytest.fixture(scope="session")
def tables(tmp_path_factory):
    """Makes databases with the tables."""
    return Tables(tmp_path_factory.mktemp("tables"))


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request, tables, tmp_path):
    """The URL of a database with the tables and nothing in them."""
    if request.param == "sqlite":
        yield await tables.sqlite(tmp_path)
        return
    postgres = request.getfixturevalue("postgres")
    made = await tables.postgresql(postgres)
    yield made
    await postgres.drop(made)


@pytest.fixture
async def database(url):
    """The database."""
    database = Database(url)
    yield database
    await database.aclose()
