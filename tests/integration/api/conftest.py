"""The API on a migrated database: SQLite, unless a test asks for both (`both`)."""

import pytest

from tests.support.api_client import ApiEnv
from vocelio.gateway.store.db.database import API_POOL, Database


@pytest.fixture
async def database(request, migrated_databases, tmp_path):
    """The database, with its tables; "postgresql" by indirect parametrization."""
    postgresql = getattr(request, "param", "sqlite") == "postgresql"
    if postgresql:
        postgres = request.getfixturevalue("postgres")
        url = await migrated_databases.postgresql(postgres)
    else:
        url = await migrated_databases.sqlite(tmp_path)
    database = Database(url, API_POOL)
    yield database
    await database.aclose()
    if postgresql:
        await postgres.drop_database(url)


@pytest.fixture
def api(database):
    """The routes on it."""
    return ApiEnv(database)
