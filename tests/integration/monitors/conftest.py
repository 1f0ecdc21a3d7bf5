"""A database with two tenants and their keys, and a Redis."""

from dataclasses import dataclass

import pytest

from tests.integration.monitors.stage import people
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.store import api_keys
from vocelio.gateway.store.db.database import Database


@dataclass
class Site:
    """Where the database is, and the keys that are known of it."""

    url: str
    database: Database
    viewer: str
    operator: str
    other: str
    platform: str


async def _filled(url):
    database = Database(url)
    await database.migrate()
    viewer, operator = await people(database, "harbour", "viewer", "operator")
    (other,) = await people(database, "canary", "operator")
    return Site(url, database, viewer, operator, other, await api_keys.first(database, "tests", wall_clock()))


@pytest.fixture
async def site(tmp_path):
    """On SQLite: in one process, or several on one machine."""
    made = await _filled(f"sqlite+aiosqlite:///{tmp_path}/vocelio.db")
    yield made
    await made.database.aclose()


@pytest.fixture
async def shared(postgres):
    """On PostgreSQL."""
    async with postgres.fresh() as url:
        made = await _filled(url)
        yield made
        await made.database.aclose()
