"""/openapi.json is what the API does, whatever it is asked: no 5xx, no answer that is not described.

`FUZZ=200` tries that many requests of each operation on each database, instead of a few on PostgreSQL: what the API's
own tests ask is asked of both.
"""

import asyncio
import os
import threading

import pytest

from tests.integration.api.client import Api
from tests.integration.api.world import CANARY, ENDED, MESSAGE, NUMBER, fill, hold, ring, twilio
from vocelio.gateway.api.routes import OPERATIONS
from vocelio.gateway.server.server import listen, loop_factory, running
from vocelio.gateway.simulator.rest_api.server import RestApi
from vocelio.gateway.store.db.database import Database

FUZZ = int(os.environ.get("FUZZ", "0"))
ROWS = {f"{row.method} {row.path}": row for row in OPERATIONS}
PARTS = {"tenant": CANARY, "flow": "plain", "name": "plain", "number": NUMBER, "call": ENDED, "recording": MESSAGE}


class Served:
    """The API on a real server, in a thread of its own: where it is, and the keys."""

    def __init__(self, url):
        self._url, self._ready, self._done = url, threading.Event(), None
        self.origin, self.keys, self.problem = "", {}, None

    def __enter__(self):
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._ready.wait(30)
        assert self.origin, self.problem
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(30)

    def _run(self):
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(self._serve())

    def asking(self, row):
        """Asks that operation, with a key that may, of whatever and of the things that there are."""
        from tests.integration.api.contract import Asking

        key = self.keys["platform" if row.permission == "platform" else "admin"]
        return Asking(self.origin, key, {**PARTS, "key": self.victim})

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


@pytest.fixture(scope="module")
def contract():
    """What the API describes; its module tells why it is not imported above."""
    from tests.integration.api.contract import Contract

    return Contract(FUZZ)


def test_every_operation_is_described(contract):
    assert contract.operations == set(ROWS)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_no_answer_is_off_the_description(row, contract, served):
    contract.try_out(row.method, row.path, served.asking(row))
