"""The emulated REST API, and the client at it."""

import pytest

from vocelio.gateway.simulator.rest_api.server import RestApi
from vocelio.gateway.twilio.rest_client import Rest

ACCOUNT, TOKEN = "AC" + "5" * 32, "the auth token of the test"
NUMBER = "+13072249663"


@pytest.fixture
async def twilio():
    """The API, with one account."""
    async with RestApi() as api:
        api.account(ACCOUNT, TOKEN)
        yield api


@pytest.fixture
async def rest(twilio):
    """The client; it does not wait long."""
    rest = Rest(twilio.origin, seconds=2.0, pauses=(0.01, 0.02))
    yield rest
    await rest.aclose()


@pytest.fixture
def account(rest):
    """The account, by the client."""
    return rest.account(ACCOUNT, TOKEN)
