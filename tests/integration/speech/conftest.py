"""What the services of these tests hear and speak with."""

import pytest_asyncio

from tests.emulators.offline import offline


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def speech():
    """An ear and a mouth, for all tests of a module."""
    async with offline() as both:
        yield both
