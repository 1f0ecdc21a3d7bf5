"""The emulated REST API and its client."""

import pytest

from vocelio.gateway.simulator.rest_api.server import TwilioRestApi
from vocelio.gateway.twilio.rest_client import TwilioClient

ACCOUNT, TOKEN = "AC" + "5" * 32, "the auth token of the test"
NUMBER = "+13072249663"


@pytest.fixture
async def twilio_api():
    """An emulated REST API with one account."""
    async with TwilioRestApi() as api:
        api.add_account(ACCOUNT, TOKEN)
        yield api


@pytest.fixture
async def twilio_client(twilio_api):
    """A client with short timeouts."""
    client = TwilioClient(twilio_api.origin, timeout_seconds=2.0, retry_delays_seconds=(0.01, 0.02))
    yield client
    await client.aclose()


@pytest.fixture
def account_client(twilio_client):
    """The client of the account."""
    return twilio_client.account_client(ACCOUNT, TOKEN)
