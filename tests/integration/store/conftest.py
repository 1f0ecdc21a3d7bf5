"""Who changes things in the tests of the store."""

import itertools

import pytest

from vocelio.gateway.store.audit.actor import Actor

NOW = 1_700_000_000_000_000  # microseconds UTC


@pytest.fixture
def actor():
    """Makes an actor of a tenant; each is a second later than the one before."""
    seconds = itertools.count()

    def make(tenant="harbour", role="admin", key="key1"):
        return Actor(key, role, tenant, "request-1", NOW + next(seconds) * 1_000_000)

    return make
