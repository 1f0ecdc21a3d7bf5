"""A tenant on each database."""

import itertools

import pytest

from tests.integration.rendered.world import START, World
from vocelio.gateway.store.audit.actor import Actor


@pytest.fixture
async def world(database):
    """The world, with one tenant."""
    count = itertools.count()
    world = World(database, lambda name: Actor("key1", "admin", name, "request-1", START + next(count)))
    await world.tenant()
    return world
