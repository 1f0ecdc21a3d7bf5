"""The environment of prompt cache tests, on each database."""

import itertools

import pytest

from tests.support.prompt_env import START, PromptEnv
from vocelio.gateway.store.audit import Actor


@pytest.fixture
async def prompt_env(database):
    """An environment with one tenant."""
    count = itertools.count()
    env = PromptEnv(database, lambda name: Actor("key1", "admin", name, "request-1", START + next(count)))
    await env.create_tenant()
    return env
