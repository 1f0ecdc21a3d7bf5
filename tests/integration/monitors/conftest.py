"""A database with two tenants and their keys, and a Redis."""

from dataclasses import dataclass

import pytest

from tests.support.monitoring_env import create_tenant_with_keys
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.store import api_keys
from vocelio.gateway.store.db.database import Database


@dataclass
class MonitoringDatabase:
    """The database's URL and the API keys in it."""

    url: str
    database: Database
    viewer: str
    operator: str
    other: str
    platform: str


async def _create_database(url):
    database = Database(url)
    await database.migrate()
    viewer, operator = await create_tenant_with_keys(database, "harbour", "viewer", "operator")
    (other,) = await create_tenant_with_keys(database, "canary", "operator")
    return MonitoringDatabase(
        url, database, viewer, operator, other, await api_keys.create_platform_key(database, "tests", wall_clock())
    )


@pytest.fixture
async def sqlite_database(tmp_path):
    """Create the database on SQLite."""
    made = await _create_database(f"sqlite+aiosqlite:///{tmp_path}/vocelio.db")
    yield made
    await made.database.aclose()


@pytest.fixture
async def postgres_database(postgres):
    """Create the database on PostgreSQL."""
    async with postgres.temporary_database() as url:
        made = await _create_database(url)
        yield made
        await made.database.aclose()
