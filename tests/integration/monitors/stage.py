"""Gateways with monitors on one database, and maybe one Redis; calls that are played to them."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import ClientSession

from tests.gateway import gateway
from vocelio.engine.validation.loader import load
from vocelio.gateway.api.framework.rate_limit import Limits
from vocelio.gateway.api.routes import routes
from vocelio.gateway.api.websockets.endpoints import Watching
from vocelio.gateway.api.websockets.push_socket import Pace
from vocelio.gateway.calls.background.process_heartbeat import Presence
from vocelio.gateway.calls.call_record import CallRecord
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.crypto.encryption import Vault
from vocelio.gateway.events.redis.pubsub import RedisLine
from vocelio.gateway.model.directory import Assignment
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.monitors.key_revocation import Guard
from vocelio.gateway.monitors.service import Monitors
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.store import api_keys
from vocelio.gateway.store.api_keys import NewKey
from vocelio.gateway.store.audit.actor import Actor
from vocelio.gateway.store.calls.write_behind import DatabaseJournal
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.routing.database import DatabaseSite
from vocelio.gateway.store.tenants import tenants

BEAT, LOOK = 0.4, 0.2  # seconds: of the line, and between two looks into the store
SECRET, ORIGIN = "a secret of the processes", "https://gateway.example"
ACCOUNT = "AC" + "5" * 32
GENEROUS = Limits(requests=1e6, at_once=1_000_000, failures=1e6, failures_at_once=1_000_000)
FLOW = {
    "name": "A flow",
    "start": "greet",
    "nodes": {
        "greet": {"type": "say", "text": "Good day.", "exits": {"next": "bye"}},
        "bye": {"type": "hangup"},
    },
}
VERSION = load(json.dumps(FLOW).encode())


@dataclass
class Member:
    """One process, as it were. ``origin`` is where it serves."""

    origin: str
    calls: object
    carrier: object
    database: Database
    monitors: Monitors

    async def ask(self, method, path, key, body=None, **headers):
        """Status and JSON of an answer."""
        headers = {"Authorization": f"Bearer {key}"} | {name.replace("_", "-"): text for name, text in headers.items()}
        async with (
            ClientSession() as session,
            session.request(method, f"{self.origin}{path}", json=body, headers=headers) as answer,
        ):
            return answer.status, await answer.json(content_type=None)


@asynccontextmanager
async def member(url, redis_url="", *, pace=None, guard=None, look=LOOK, beat=BEAT):
    """A gateway with its API."""
    database, vault = Database(url), Vault([SECRET])
    made = {}

    def beside(calls):
        keeper = Guard(database, wall_clock, LOOK, **(guard or {}))
        monitors = made["monitors"] = Monitors(calls.services.bus, database, wall_clock, keeper, look)
        watching = Watching(monitors, (SECRET,), ORIGIN, pace or Pace())
        return routes(database, vault, calls, wall_clock, GENEROUS, watching=watching), [
            monitors,
            Presence(database, calls),
        ]

    parts = {"site": DatabaseSite(database, vault, wall_clock), "journal": DatabaseJournal(database, vault)}
    line = RedisLine(redis_url, beat) if redis_url else None
    try:
        async with gateway(None, ScriptedRecognizer(), ToneSynthesizer(), line=line, beside=beside, **parts) as running:
            yield Member(running.origin, running.calls, running.carrier, database, made["monitors"])
    finally:
        await database.aclose()


async def people(database, tenant, *roles):
    """Make the tenant, and a key of each role."""
    await tenants.create(database, _actor(""), Tenant(id=tenant, name=tenant.title()))
    return [(await api_keys.create(database, _actor(tenant), NewKey(role))).secret for role in roles]


async def revoke(database, tenant, secret):
    """The key is no good any more."""
    await api_keys.revoke(database, _actor(tenant), secret.split("_")[1])


def _actor(tenant):
    return Actor("tests", "platform", tenant, "", wall_clock())


class Played:
    """A call without a stream: what happens to it is said by the test."""

    def __init__(self, member, place=1, tenant="harbour", flow="front-desk", number="+13072249663"):
        assignment = Assignment(number=number, tenant=Tenant(id=tenant, name=tenant), flow=flow, version=VERSION)
        self.calls = member.calls
        self.record = CallRecord(f"CA{place:032x}", ACCOUNT, "+13105550142", assignment, wall_clock(), generation=1)
        self.record.meter.begin(wall_clock())

    @property
    def id(self):
        """Twilio's name of it."""
        return self.record.call

    def begin(self):
        """It starts."""
        self._save()
        where = self.record.assignment
        self.calls.publish(self.record, "call.started", caller="+13105550142", number=where.number, flow=where.flow)
        return self

    def enter(self, node):
        """The flow moves."""
        self.calls.publish(self.record, "node.entered", node=node, type="say")
        self._save()

    def end(self, outcome="completed"):
        """It is over."""
        self.record.meter.run(wall_clock())
        self.calls.end(self.record, outcome)

    def _save(self):
        self.record.meter.run(wall_clock())
        self.calls.save(self.record)


async def subscribed(redis, where, count=1):
    """Until so many processes listen to that channel."""
    async with asyncio.timeout(10):
        while int(redis.ask("PUBSUB", "NUMSUB", where).rpartition(b":")[2]) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
