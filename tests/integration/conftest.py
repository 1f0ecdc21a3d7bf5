"""Fixtures of all integration tests."""

import itertools

import pytest

from vocelio.gateway.store.audit import Actor

NOW = 1_700_000_000_000_000  # microseconds UTC


@pytest.fixture
def make_actor():
    """A factory of actors; each acts one second after the previous one."""
    seconds = itertools.count()

    def make(tenant="harbour", role="admin", key="key1"):
        return Actor(key, role, tenant, "request-1", NOW + next(seconds) * 1_000_000)

    return make
