"""The API on a migrated database: SQLite, unless a test asks for both (`both`)."""

import pytest

from tests.integration.api.client import Api
from vocelio.gateway.store.database import Database


@pytest.fixture
async def database(request, tmp_path):
    """The database, with its tables; "postgresql" by indirect parametrization."""
    postgresql = getattr(request, "param", "sqlite") == "postgresql"
    if postgresql:
        postgres = request.getfixturevalue("postgres")
        url = await postgres.database()
    else:
        url = f"sqlite+aiosqlite:///{tmp_path}/vocelio.db"
    database = Database(url)
    await database.migrate()
    yield database
    await database.aclose()
    if postgresql:
        await postgres.drop(url)


@pytest.fixture
def api(database):
    """The routes on it."""
    return Api(database)
