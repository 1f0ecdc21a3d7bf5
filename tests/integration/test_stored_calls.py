"""Calls on a database: every change counts from the next one on, and the database may be away for half a minute."""

import asyncio
import json
import sqlite3
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import select

from tests.gateway import CALLER, DEPARTMENTS, NUMBER, TENANT, gateway
from tests.postgres import over_tcp
from tests.proxy import Proxy
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.crypto.encryption import Vault
from vocelio.gateway.errors import NotFound
from vocelio.gateway.simulator.caller.script import HangUp, StaySilent
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.speech.fallback_recognizer import Ears
from vocelio.gateway.speech.fallback_synthesizer import Voices
from vocelio.gateway.speech.services import Speech
from vocelio.gateway.store import numbers
from vocelio.gateway.store.audit.actor import Actor
from vocelio.gateway.store.calls.write_behind import DatabaseJournal
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import call_events, calls, usage
from vocelio.gateway.store.flows import drafts, promotion
from vocelio.gateway.store.flows.drafts import Pause
from vocelio.gateway.store.flows.promotion import Return
from vocelio.gateway.store.numbers import NewNumber
from vocelio.gateway.store.routing.database import DatabaseSite
from vocelio.gateway.store.tenants import departments, secrets, tenants
from vocelio.gateway.store.tenants.twilio_accounts import Accounts

OTHER = "+13072249664"
FALLBACK = "+13105550100"


def hangup(text):
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


def actor(tenant=TENANT.id):
    return Actor("key1", "admin", tenant, "request-1", wall_clock())


async def promote(database, flow, document, seen=None):
    """Put it onto the database, in place of the draft with that revision, and make it active."""
    await drafts.put(database, actor(), flow, json.dumps(document).encode(), seen)
    await promotion.promote(database, actor(), flow, "")


async def lead(database, number, flow, **parts):
    await numbers.create(database, actor(), NewNumber(number=number, **parts))
    await numbers.assign(database, actor(), number, flow)


async def fill(database):
    await tenants.create(database, actor(""), TENANT)
    for name, department in DEPARTMENTS.items():
        await departments.put(database, actor(), name, department)


@asynccontextmanager
async def serving(database, **options):
    vault = Vault(["a key of the test"])
    site, journal = DatabaseSite(database, vault, wall_clock), DatabaseJournal(database, vault)
    accounts = Accounts(database, vault).token
    voices = Voices({"azure": ToneSynthesizer(), "local": ToneSynthesizer()})
    speech = Speech(Ears({"local": ScriptedRecognizer()}), voices)
    async with gateway(None, speech=speech, site=site, journal=journal, accounts=accounts) as running:
        yield running


def said(running):
    return [event["text"] for event in running.bus.of("prompt.started")]


async def rows(database, table):
    async with database.reading() as connection:
        return (await connection.execute(select(table))).all()


async def test_from_promotion_to_a_call_and_everything_that_changes_it(database):
    await fill(database)
    await promote(database, "front-desk", hangup("This is the first version."))
    await lead(database, NUMBER, "front-desk")
    async with serving(database) as running:
        await running.call()
        await promote(database, "front-desk", hangup("This is the second version."), seen=1)
        await running.call()
        await promotion.roll_back(database, actor(), "front-desk", Return(version=1))
        await running.call()
        assert said(running) == [
            "This is the first version.",
            "This is the second version.",
            "This is the first version.",
        ]
        await drafts.pause(database, actor(), "front-desk", Pause(text="We are at lunch."))
        paused = await running.call()
        assert paused.spoken == ("We are at lunch.",)
        await drafts.resume(database, actor(), "front-desk")
        await running.call()
        assert len(said(running)) == 4
        await numbers.unassign(database, actor(), NUMBER)
        unassigned = await running.call()
        assert "not in service" in unassigned.spoken[0]
    kept = sorted(await rows(database, calls), key=lambda call: call.started)
    assert [(call.outcome, call.version) for call in kept] == [
        ("completed", 1),
        ("completed", 2),
        ("completed", 1),
        ("paused", None),
        ("completed", 1),
        ("unassigned", None),
    ]
    assert len(await rows(database, usage)) == 4
    types = {event.type for event in await rows(database, call_events)}
    assert {"call.started", "node.entered", "prompt.started", "call.ended", "call.refused"} <= types


async def test_a_live_call_stays_on_its_version(database):
    await fill(database)
    await promote(database, "front-desk", TALK)
    await lead(database, NUMBER, "front-desk")
    async with serving(database) as running:
        call = asyncio.create_task(running.call([StaySilent(4), HangUp()]))
        await asyncio.sleep(1)
        await promote(database, "front-desk", hangup("This is the second version."), seen=1)
        await drafts.pause(database, actor(), "front-desk", Pause())
        report = await call
        assert report.errors == ()
        assert set(said(running)) == {"Please stay on the line."}
    ((version, cost),) = [(call.version, call.micro_usd) for call in await rows(database, calls)]
    assert version == 1
    assert cost > 0


class Outage:
    """The database is away: PostgreSQL behind a proxy that passes nothing on, or an SQLite file that another locks."""

    def __init__(self, database, url, proxy):
        self.database, self._url, self._proxy, self._lock = database, url, proxy, None

    async def begin(self):
        if self._proxy:
            await self._proxy.stall()
        else:
            place = self._url.removeprefix("sqlite+aiosqlite:///")
            self._lock = sqlite3.connect(place, isolation_level=None, timeout=0)
            while not self._locked():  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.01)  # the gateway's own transaction ends on this very loop

    def _locked(self):
        try:
            self._lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            return False
        return True

    async def end(self):
        if self._proxy:
            await self._proxy.mend()
        else:
            self._lock.rollback()
            self._lock.close()


@pytest.fixture
async def outage(url, postgres):
    """A database and the power to take it away."""
    if url.startswith("sqlite"):
        database = Database(url)
        yield Outage(database, url, None)
        await database.aclose()
        return
    async with Proxy(postgres.socket) as proxy:
        database = Database(over_tcp(url, proxy.port))
        yield Outage(database, url, proxy)
        await proxy.mend()
        await database.aclose()


async def test_half_a_minute_without_the_database(outage):
    database = outage.database
    await fill(database)
    for flow, document in (("talk", TALK), ("ring", RING), ("bye", hangup("Goodbye."))):
        await promote(database, flow, document)
    await lead(database, NUMBER, "talk")
    await lead(database, OTHER, "ring", fallback=FALLBACK)
    async with serving(database) as running:
        long = [asyncio.create_task(running.call([StaySilent(38), HangUp()])) for _ in range(3)]
        short = [asyncio.create_task(running.call([StaySilent(10), HangUp()])) for _ in range(3)]
        ringing = asyncio.create_task(running.carrier.call(OTHER, CALLER))
        await asyncio.sleep(3)
        await outage.begin()
        began = asyncio.get_running_loop().time()
        refused, forwarded = await asyncio.gather(
            running.call([StaySilent(2), HangUp()]), running.carrier.call(OTHER, CALLER, [StaySilent(2)])
        )
        if outage.database.sqlite:  # readers of a write-ahead log do not wait for a writer: it takes new calls, too
            assert refused.errors == forwarded.errors == ()
        else:
            assert refused.webhooks[0].ms < 3_000
            assert forwarded.webhooks[0].ms < 3_000
            assert refused.spoken == (TENANT.apology,)
            assert [dialed.target for dialed in forwarded.dialed] == [FALLBACK]
        left = await ringing
        assert "Nobody can be reached." in said(running)
        assert left.errors == ()
        done = await asyncio.gather(*short)
        await asyncio.sleep(max(0, 30 - (asyncio.get_running_loop().time() - began)))
        await outage.end()
        done += await asyncio.gather(*long)
        assert [report.errors for report in done] == [()] * 6
    kept = await rows(database, calls)
    by_id = {call.id: call for call in kept}
    assert len(by_id) == len(kept) == 9
    assert all(call.ended for call in kept)
    spent = await rows(database, usage)
    assert sum(part.micro_usd for part in spent) == sum(call.micro_usd for call in kept) > 0
    for report in done:
        call = by_id[report.call_sid]
        streamed = report.streams[-1].closed - report.streams[0].opened
        assert call.billed / 1e6 == pytest.approx(streamed, abs=1.5)
    told = await rows(database, call_events)
    assert len({(event.call_id, event.generation, event.seq) for event in told}) == len(told)
    for call in kept:
        numbered = sorted(
            event.seq for event in told if event.call_id == call.id and event.generation == call.generation
        )
        assert numbered == list(range(1, len(numbered) + 1)), "no event is missing"


async def test_secrets_of_the_site(database):
    await fill(database)
    vault = Vault(["a key of the test"])
    await secrets.put(database, vault, actor(), "crm", "hush")
    site = DatabaseSite(database, vault, wall_clock)
    assert await site.secret(TENANT.id, "crm") == "hush"
    with pytest.raises(NotFound):
        await site.secret("another", "crm")


async def test_a_restart_of_the_server_is_not_noticed_by_the_next_call(postgres):
    async with postgres.fresh() as url:
        database = Database(url)
        await database.migrate()
        await fill(database)
        await promote(database, "bye", hangup("Goodbye."))
        await lead(database, NUMBER, "bye")
        site = DatabaseSite(database, Vault(["a key of the test"]), wall_clock)
        before = await site.assignment(NUMBER)
        postgres.stop()
        assert (await site.assignment(NUMBER)).outcome == "unavailable"
        postgres.start()
        assert (await site.assignment(NUMBER)).version is before.version
        postgres.stop()
        postgres.start()
        assert (await site.assignment(NUMBER)).version is before.version, "the connection from before is dead"
        await database.aclose()
