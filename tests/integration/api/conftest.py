"""The API on a migrated database: SQLite, unless a test asks for both (`both`)."""

import pytest

from tests.integration.api.client import Api
from vocelio.gateway.store.db.database import Database


@pytest.fixture
async def database(request, tables, tmp_path):
    """The database, with its tables; "postgresql" by indirect parametrization."""
    postgresql = getattr(request, "param", "sqlite") == "postgresql"
    if postgresql:
        postgres = request.getfixturevalue("postgres")
        url = await tables.postgresql(postgres)
    else:
        url = await tables.sqlite(tmp_path)
    database = Database(url)
    yield database
    await database.aclose()
    if postgresql:
        await postgres.drop(url)


@pytest.fixture
def api(database):
    """The routes on it."""
    return Api(database)
