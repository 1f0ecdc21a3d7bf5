"""What any test may ask for: the servers behind the gateway, each started by the first test that needs it."""

import pytest

from tests.postgres import Postgres
from tests.redis import Redis
from vocelio.gateway.store.database import Database


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


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request, tmp_path):
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path}/vocelio.db"
        return
    postgres = request.getfixturevalue("postgres")
    made = await postgres.database()
    yield made
    await postgres.drop(made)


@pytest.fixture
async def database(url):
    """The database, with its tables."""
    database = Database(url)
    await database.migrate()
    yield database
    await database.aclose()
