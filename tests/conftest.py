"""What any test may ask for: the servers behind the gateway, each started by the first test that needs it."""

import pytest

from tests.postgres import Postgres
from vocelio.gateway.store.database import Database


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL of this test process alone."""
    with Postgres() as server:
        yield server


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
