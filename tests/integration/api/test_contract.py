"""/openapi.json is what the API does, whatever it is asked: no 5xx, no answer that is not described.

`FUZZ=200` tries that many requests of each operation on each database, instead of a few on PostgreSQL: what the API's
own tests ask is asked of both.
"""

import asyncio
import json
import os
import threading

import pytest

from tests.support.api_client import ApiEnv
from tests.support.two_tenants import (
    CANARY,
    ENDED_CALL,
    NUMBER,
    RECORDING,
    add_live_call,
    add_twilio_numbers,
    create_two_tenants,
    store_recording_audio,
)
from vocelio.gateway.api.routes import OPERATIONS, get_openapi
from vocelio.gateway.server.server import loop_factory, serve_embedded
from vocelio.gateway.server.sockets import bind_socket
from vocelio.gateway.simulator.rest_api.server import TwilioRestApi
from vocelio.gateway.store.db.database import Database

FUZZ = int(os.environ.get("FUZZ", "0"))
ROWS = {f"{row.method} {row.path}": row for row in OPERATIONS}
PARTS = {
    "tenant": CANARY,
    "flow": "plain",
    "name": "plain",
    "number": NUMBER,
    "call": ENDED_CALL,
    "recording": RECORDING,
}


class ApiServer:
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

    def probe(self, row):
        """Asks that operation, with a key that may, of whatever and of the things that there are."""
        from tests.support.api_contract import OperationProbe

        key = self.keys["platform" if row.permission == "platform" else "admin"]
        return OperationProbe(self.origin, key, {**PARTS, "key": self.victim})

    async def _serve(self):
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        database = Database(self._url)
        try:
            await database.migrate()
            self.keys, self.victim, _ = await create_two_tenants(database)
            async with TwilioRestApi() as emulator:
                add_twilio_numbers(emulator)
                await self._serve_api(ApiEnv(database, twilio=emulator.origin))
        finally:
            self._ready.set()
            await database.aclose()

    async def _serve_api(self, api):
        add_live_call(api)
        await store_recording_audio(api)
        try:
            async with serve_embedded(api.app, bind_socket()) as self.origin:
                self._ready.set()
                await self._done.wait()
        finally:
            await api.provisioner.aclose()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"] if FUZZ else ["postgresql"])
def api_server(request, tmp_path_factory):
    """The API with both tenants' things, on each database."""
    if request.param == "sqlite":
        with ApiServer(f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('served')}/vocelio.db") as served:
            yield served
        return
    postgres = request.getfixturevalue("postgres")
    url = asyncio.run(postgres.create_database())
    with ApiServer(url) as served:
        yield served
    asyncio.run(postgres.drop_database(url))


@pytest.fixture(scope="module")
def contract():
    """What the API describes; its module tells why it is not imported above."""
    from tests.support.api_contract import ApiContract

    return ApiContract(FUZZ)


def test_document_is_valid_openapi():
    from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

    OPENAPI_31_VALIDATOR.validate(json.loads(asyncio.run(get_openapi(None)).body))


def test_every_operation_is_described(contract):
    assert contract.operations == set(ROWS)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_no_answer_is_off_the_description(row, contract, api_server):
    contract.try_operation(row.method, row.path, api_server.probe(row))
