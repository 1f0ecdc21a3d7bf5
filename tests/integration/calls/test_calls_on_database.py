"""Calls on a database: every change counts from the next one on, and the database may be away for half a minute."""

import asyncio
import json
import sqlite3
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import select

from tests.support.faulty_tcp_proxy import FaultyTcpProxy
from tests.support.postgres_server import tcp_url
from tests.support.running_gateway import CALLER, DEPARTMENTS, NUMBER, TENANT, running_gateway
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.crypto import SecretCipher
from vocelio.gateway.errors import NotFound
from vocelio.gateway.simulator.caller.script import HangUp, StaySilent
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.speech.fallback_recognizer import FallbackRecognizer
from vocelio.gateway.speech.fallback_synthesizer import FallbackSynthesizer
from vocelio.gateway.speech.providers import SpeechServices
from vocelio.gateway.store import numbers
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.calls.write_behind import WriteBehindCallStore
from vocelio.gateway.store.database_directory import DatabaseDirectory
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import call_events, calls, usage
from vocelio.gateway.store.flows import drafts, promotion
from vocelio.gateway.store.flows.drafts import PauseSettings
from vocelio.gateway.store.flows.promotion import RollbackRequest
from vocelio.gateway.store.numbers import NewNumber
from vocelio.gateway.store.tenants import departments, secrets, tenants
from vocelio.gateway.store.tenants.twilio_accounts import TwilioAccounts

OTHER = "+13072249664"
FALLBACK = "+13105550100"


def hangup_flow(text):
    return {"name": "Bye", "start": "bye", "nodes": {"bye": {"type": "hangup", "text": text}}}


TALK = {
    "name": "Talk",
    "voice": {"tier": "azure", "name": "en-US-AvaNeural"},
    "start": "wait",
    "max_seconds": 120,
    "nodes": {
        "wait": {"type": "wait", "seconds": 1, "exits": {"next": "say"}},
        "say": {"type": "say", "text": "Please stay on the line.", "exits": {"next": "wait"}},
    },
}
RING = {
    "name": "Ring",
    "start": "wait",
    "nodes": {
        "wait": {"type": "wait", "seconds": 4, "exits": {"next": "ring"}},
        "ring": {"type": "transfer", "department": "sales", "exits": {"failed": "sorry"}},
        "sorry": {"type": "hangup", "text": "Nobody can be reached."},
    },
}


def make_actor(tenant=TENANT.id):
    return Actor("key1", "admin", tenant, "request-1", wall_clock())


async def put_and_promote(database, flow, document, seen=None):
    """Put it onto the database, in place of the draft with that revision, and make it active."""
    await drafts.put_flow(database, make_actor(), flow, json.dumps(document).encode(), seen)
    await promotion.promote_flow(database, make_actor(), flow, "")


async def assign_number(database, number, flow, **parts):
    await numbers.create_number(database, make_actor(), NewNumber(number=number, **parts))
    await numbers.assign_number(database, make_actor(), number, flow)


async def seed_database(database):
    await tenants.create_tenant(database, make_actor(""), TENANT)
    for name, department in DEPARTMENTS.items():
        await departments.put_department(database, make_actor(), name, department)


@asynccontextmanager
async def database_gateway(database, **options):
    vault = SecretCipher(["a key of the test"])
    site, journal = DatabaseDirectory(database, vault, wall_clock), WriteBehindCallStore(database, vault)
    accounts = TwilioAccounts(database, vault).get_auth_token
    voices = FallbackSynthesizer({"azure": ToneSynthesizer(), "local": ToneSynthesizer()})
    speech = SpeechServices(FallbackRecognizer({"local": ScriptedRecognizer()}), voices)
    async with running_gateway(None, speech=speech, directory=site, call_store=journal, accounts=accounts) as running:
        yield running


def spoken_prompts(running):
    return [event["text"] for event in running.bus.data_of("prompt.started")]


async def select_rows(database, table):
    async with database.read() as connection:
        return (await connection.execute(select(table))).all()


async def test_each_configuration_change_applies_to_the_next_call(database):
    await seed_database(database)
    await put_and_promote(database, "front-desk", hangup_flow("This is the first version."))
    await assign_number(database, NUMBER, "front-desk")
    async with database_gateway(database) as running:
        await running.call()
        await put_and_promote(database, "front-desk", hangup_flow("This is the second version."), seen=1)
        await running.call()
        await promotion.rollback_flow(database, make_actor(), "front-desk", RollbackRequest(version=1))
        await running.call()
        assert spoken_prompts(running) == [
            "This is the first version.",
            "This is the second version.",
            "This is the first version.",
        ]
        await drafts.pause_flow(database, make_actor(), "front-desk", PauseSettings(message="We are at lunch."))
        paused = await running.call()
        assert paused.say_texts == ("We are at lunch.",)
        await drafts.resume_flow(database, make_actor(), "front-desk")
        await running.call()
        assert len(spoken_prompts(running)) == 4
        await numbers.unassign_number(database, make_actor(), NUMBER)
        unassigned = await running.call()
        assert "not in service" in unassigned.say_texts[0]
    kept = sorted(await select_rows(database, calls), key=lambda call: call.started_at)
    assert [(call.outcome, call.version) for call in kept] == [
        ("completed", 1),
        ("completed", 2),
        ("completed", 1),
        ("paused", None),
        ("completed", 1),
        ("unassigned", None),
    ]
    assert len(await select_rows(database, usage)) == 4
    types = {event.type for event in await select_rows(database, call_events)}
    assert {"call.started", "node.entered", "prompt.started", "call.ended", "call.rejected"} <= types


async def test_a_live_call_stays_on_its_version(database):
    await seed_database(database)
    await put_and_promote(database, "front-desk", TALK)
    await assign_number(database, NUMBER, "front-desk")
    async with database_gateway(database) as running:
        call = asyncio.create_task(running.call([StaySilent(4), HangUp()]))
        await asyncio.sleep(1)
        await put_and_promote(database, "front-desk", hangup_flow("This is the second version."), seen=1)
        await drafts.pause_flow(database, make_actor(), "front-desk", PauseSettings())
        report = await call
        assert report.errors == ()
        assert set(spoken_prompts(running)) == {"Please stay on the line."}
    ((version, cost),) = [(call.version, call.cost_micro_usd) for call in await select_rows(database, calls)]
    assert version == 1
    assert cost > 0


class DatabaseOutage:
    """The database is away: PostgreSQL behind a proxy that passes nothing on, or an SQLite file that another locks."""

    def __init__(self, database, url, proxy):
        self.database, self._url, self._proxy, self._lock = database, url, proxy, None

    async def start(self):
        if self._proxy:
            await self._proxy.stall()
        else:
            place = self._url.removeprefix("sqlite+aiosqlite:///")
            self._lock = sqlite3.connect(place, isolation_level=None, timeout=0)
            while not self._lock_sqlite():  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.01)  # the gateway's own transaction ends on this very loop

    def _lock_sqlite(self):
        try:
            self._lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            return False
        return True

    async def end(self):
        if self._proxy:
            await self._proxy.restore()
        else:
            self._lock.rollback()
            self._lock.close()


@pytest.fixture
async def database_outage(database_url, postgres):
    """A database and the power to take it away."""
    if database_url.startswith("sqlite"):
        database = Database(database_url)
        yield DatabaseOutage(database, database_url, None)
        await database.aclose()
        return
    async with FaultyTcpProxy(postgres.socket) as proxy:
        database = Database(tcp_url(database_url, proxy.port))
        yield DatabaseOutage(database, database_url, proxy)
        await proxy.restore()
        await database.aclose()


async def test_live_calls_survive_a_database_outage(database_outage):
    database = database_outage.database
    await seed_database(database)
    for flow, document in (("talk", TALK), ("ring", RING), ("bye", hangup_flow("Goodbye."))):
        await put_and_promote(database, flow, document)
    await assign_number(database, NUMBER, "talk")
    await assign_number(database, OTHER, "ring", fallback_number=FALLBACK)
    async with database_gateway(database) as running:
        long = [asyncio.create_task(running.call([StaySilent(38), HangUp()])) for _ in range(3)]
        short = [asyncio.create_task(running.call([StaySilent(10), HangUp()])) for _ in range(3)]
        ringing = asyncio.create_task(running.simulator.call(OTHER, CALLER))
        await asyncio.sleep(3)
        await database_outage.start()
        began = asyncio.get_running_loop().time()
        refused, forwarded = await asyncio.gather(
            running.call([StaySilent(2), HangUp()]), running.simulator.call(OTHER, CALLER, [StaySilent(2)])
        )
        if (
            database_outage.database.is_sqlite
        ):  # readers of a write-ahead log do not wait for a writer: it takes new calls, too
            assert refused.errors == forwarded.errors == ()
        else:
            assert refused.webhooks[0].duration_ms < 3_000
            assert forwarded.webhooks[0].duration_ms < 3_000
            assert refused.say_texts == (TENANT.error_message,)
            assert [dialed.target for dialed in forwarded.dial_results] == [FALLBACK]
        left = await ringing
        assert "Nobody can be reached." in spoken_prompts(running)
        assert left.errors == ()
        done = await asyncio.gather(*short)
        await asyncio.sleep(max(0, 30 - (asyncio.get_running_loop().time() - began)))
        await database_outage.end()
        done += await asyncio.gather(*long)
        assert [report.errors for report in done] == [()] * 6
    kept = await select_rows(database, calls)
    by_id = {call.id: call for call in kept}
    assert len(by_id) == len(kept) == 9
    assert all(call.ended_at for call in kept)
    spent = await select_rows(database, usage)
    assert sum(part.cost_micro_usd for part in spent) == sum(call.cost_micro_usd for call in kept) > 0
    for report in done:
        call = by_id[report.call_sid]
        streamed = report.streams[-1].closed_at - report.streams[0].opened_at
        assert call.billed_microseconds / 1e6 == pytest.approx(streamed, abs=1.5)
    reported = await select_rows(database, call_events)
    assert len({(event.call_id, event.generation, event.seq) for event in reported}) == len(reported)
    for call in kept:
        numbered = sorted(
            event.seq for event in reported if event.call_id == call.id and event.generation == call.generation
        )
        assert numbered == list(range(1, len(numbered) + 1)), "no event is missing"


async def test_secrets_are_read_for_their_tenant_only(database):
    await seed_database(database)
    vault = SecretCipher(["a key of the test"])
    await secrets.put_secret(database, vault, make_actor(), "crm", "hush")
    site = DatabaseDirectory(database, vault, wall_clock)
    assert await site.get_secret(TENANT.id, "crm") == "hush"
    with pytest.raises(NotFound):
        await site.get_secret("another", "crm")


async def test_directory_recovers_after_a_database_restart(postgres):
    async with postgres.temporary_database() as url:
        database = Database(url)
        await database.migrate()
        await seed_database(database)
        await put_and_promote(database, "bye", hangup_flow("Goodbye."))
        await assign_number(database, NUMBER, "bye")
        site = DatabaseDirectory(database, SecretCipher(["a key of the test"]), wall_clock)
        before = await site.get_call_config(NUMBER)
        postgres.stop()
        assert (await site.get_call_config(NUMBER)).outcome == "unavailable"
        postgres.start()
        assert (await site.get_call_config(NUMBER)).version is before.version
        postgres.stop()
        postgres.start()
        assert (await site.get_call_config(NUMBER)).version is before.version, "the connection from before is dead"
        await database.aclose()
