"""/openapi.json is what the API does, whatever it is asked: no 5xx, no answer that is not described.

`FUZZ=200` tries that many requests of each operation on each database, instead of a few on PostgreSQL: what the API's
own tests ask is asked of both.
"""

import asyncio
import json
import os
import threading

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import negative_data_rejection

from tests.integration.api.client import Api
from tests.integration.api.world import CANARY, ENDED, MESSAGE, NUMBER, fill, hold, ring, twilio
from vocelio.gateway.api.routes import OPERATIONS, description
from vocelio.gateway.server import listen, running
from vocelio.gateway.simulator.rest import RestApi
from vocelio.gateway.store.database import Database

FUZZ = int(os.environ.get("FUZZ", "0"))
EXAMPLES = FUZZ or 2  # of each operation, each asked twice
REFUSED = ["400", "401", "403", "404", "405", "409", "412", "413", "415", "422", "428"]
CONFIG = SchemathesisConfig.from_dict(
    {
        "generation": {"mode": "all", "allow-x00": True},
        "checks": {
            "negative_data_rejection": {"expected-statuses": REFUSED},
            # What no schema can say is refused, too: a cursor of another list, a time zone that there is not.
            "positive_data_acceptance": {"enabled": False},
            "not_a_server_error": {
                "expected-statuses": ["2xx", "3xx", "4xx", "502"]
            },  # 502: an account that Twilio has not
        },
    }
)
SCHEMA = schemathesis.openapi.from_dict(json.loads(asyncio.run(description(None)).body), config=CONFIG)

PARTS = {"tenant": CANARY, "flow": "plain", "name": "plain", "number": NUMBER, "call": ENDED, "recording": MESSAGE}
PLATFORM = {(row.method, row.path) for row in OPERATIONS if row.permission == "platform"}


@schemathesis.serializer("audio/wav")
def as_it_is(context, value):
    """A body that is no JSON."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


class Served:
    """The API on a real server, in a thread of its own: where it is, and the keys."""

    def __init__(self, url):
        self._url, self._ready, self._done = url, threading.Event(), None
        self.origin, self.keys, self.problem = "", {}, None

    def __enter__(self):
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))
        self._thread.start()
        self._ready.wait(30)
        assert self.origin, self.problem
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(30)

    async def _serve(self):
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        database = Database(self._url)
        try:
            await database.migrate()
            self.keys, self.victim, _ = await fill(database)
            async with RestApi() as emulator:
                twilio(emulator)
                await self._serve_api(Api(database, twilio=emulator.origin))
        finally:
            self._ready.set()
            await database.aclose()

    async def _serve_api(self, api):
        ring(api)
        await hold(api)
        try:
            async with running(api.app, listen()) as self.origin:
                self._ready.set()
                await self._done.wait()
        finally:
            await api.registrar.aclose()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"] if FUZZ else ["postgresql"])
def served(request, tmp_path_factory):
    """The API with both tenants' things, on each database."""
    if request.param == "sqlite":
        with Served(f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('served')}/vocelio.db") as served:
            yield served
        return
    postgres = request.getfixturevalue("postgres")
    url = asyncio.run(postgres.database())
    with Served(url) as served:
        yield served
    asyncio.run(postgres.drop(url))


@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=EXAMPLES < 10,
    database=None,
)
def test_no_answer_is_off_the_description(case, served):
    role = "platform" if (case.method, case.path) in PLATFORM else "admin"
    headers = {"Authorization": f"Bearer {served.keys[role]}"}
    case.call_and_validate(base_url=served.origin, headers=headers)
    if case.path_parameters:  # and of things that there are
        known = {**PARTS, "key": served.victim}
        case.path_parameters.update({name: known[name] for name in case.path_parameters})
        case.call_and_validate(base_url=served.origin, headers=headers, excluded_checks=[negative_data_rejection])
