"""Gateways with monitors on one database, and maybe one Redis; calls that are played to them; screens that watch."""

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from aiohttp import ClientSession, WSMsgType
from sqlalchemy import select

from tests.gateway import gateway
from vocelio.engine.document import load
from vocelio.gateway.api.limits import Limits
from vocelio.gateway.api.pushing import Pace
from vocelio.gateway.api.routes import routes
from vocelio.gateway.api.sockets import Watching
from vocelio.gateway.calls.presence import Presence
from vocelio.gateway.calls.record import CallRecord
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.events.redis_line import RedisLine
from vocelio.gateway.monitors.guard import Guard
from vocelio.gateway.monitors.monitors import Monitors
from vocelio.gateway.speech.scripted import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.store import keys, tenants
from vocelio.gateway.store.actor import Actor
from vocelio.gateway.store.database import Database
from vocelio.gateway.store.keys import NewKey
from vocelio.gateway.store.live import current_node
from vocelio.gateway.store.lookup import DatabaseSite
from vocelio.gateway.store.schema import calls as call_rows
from vocelio.gateway.store.site import Assignment, Tenant
from vocelio.gateway.store.vault import Vault
from vocelio.gateway.store.writing import DatabaseJournal

SHOWN = 40_000_000  # microseconds since its end that a call is in every picture
BEAT, LOOK = 0.1, 0.2  # seconds: of the line, and between two looks into the store
SECRET, ORIGIN = "a secret of the processes", "https://gateway.example"
ACCOUNT = "AC" + "5" * 32
GENEROUS = Limits(requests=1e6, at_once=1_000_000, failures=1e6, failures_at_once=1_000_000)
COMPARED = ("status", "outcome", "department", "node", "micro_usd", "generation", "flow", "number")
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
    return [(await keys.create(database, _actor(tenant), NewKey(role))).secret for role in roles]


async def revoke(database, tenant, secret):
    """The key is no good any more."""
    await keys.revoke(database, _actor(tenant), secret.split("_")[1])


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


class Screen:
    """A monitor: keeps a picture of calls as docs/monitors.md says one should."""

    def __init__(self, socket):
        self.socket, self.picture, self.events, self.messages, self.texts = socket, {}, [], [], []
        self.gaps, self.code, self.snapshots = 0, None, 0
        self._changed = asyncio.Event()

    async def watch(self):
        """Take everything in, to the end."""
        async for message in self.socket:
            if message.type is WSMsgType.TEXT:
                self.texts.append(message.data)
                self._take(json.loads(message.data))
                self._changed.set()
        self.code = self.socket.close_code
        self._changed.set()

    def _take(self, message):
        self.messages.append(message)
        match message["message"]:
            case "snapshot":
                if message["first"]:
                    self.picture = {}
                self.snapshots += message["last"]
                self.picture |= {call["call"]: call for call in message["calls"]}
            case "changes":
                for call in message["calls"]:
                    self.picture.setdefault(call["call"], {}).update(call)
            case "event":
                self.events.append(message)
                self._happened(message)
            case "gap":
                self.gaps += 1

    def _happened(self, event):
        call = self.picture.setdefault(event["call"], {"generation": 0, "seq": 0, "status": "live", "micro_usd": 0})
        if (event["generation"], event["seq"]) <= (call["generation"], call["seq"]):
            return
        call |= {"generation": event["generation"], "seq": event["seq"]}
        data = event["data"]
        match event["type"]:
            case "call.started":
                call |= {"flow": data["flow"], "number": data["number"], "status": "live", "outcome": ""}
            case "call.resumed":
                call |= {"status": "live", "outcome": ""}
            case "node.entered":
                call["node"] = data["node"]
            case "transfer.started":
                call["department"] = data["department"]
            case "call.ended":
                call |= {"status": "ended"} | {
                    name: data[name] for name in ("outcome", "department", "disposition", "micro_usd")
                }

    async def until(self, happened, seconds=10):
        """Until that is so."""
        async with asyncio.timeout(seconds):
            while not happened(self):
                self._changed.clear()
                await self._changed.wait()

    async def right(self, database, tenant="harbour", seconds=10):
        """Until the picture is the store's, which knows of a call; gives the seconds that took.

        Calls that ended a while ago need not be in it.
        """
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(seconds):
            while True:
                wanted, ended = await truth(database, tenant), wall_clock() - SHOWN
                shown = {
                    call: {name: facts.get(name, "") for name in COMPARED}
                    for call, facts in self.picture.items()
                    if call in wanted or facts["status"] == "live"
                }
                if wanted and shown == {
                    call: {name: facts[name] for name in COMPARED}
                    for call, facts in wanted.items()
                    if call in shown or not facts["ended"] or facts["ended"] > ended
                }:
                    return asyncio.get_running_loop().time() - began
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        self._changed.clear()
                        await self._changed.wait()


async def subscribed(redis, where, count=1):
    """Until so many processes listen to that channel."""
    async with asyncio.timeout(10):
        while int(redis.ask("PUBSUB", "NUMSUB", where).rpartition(b":")[2]) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def truth(database, tenant):
    """The tenant's calls, as the store has them."""
    query = select(call_rows, current_node().label("node"))
    if tenant:
        query = query.where(call_rows.c.tenant_id == tenant)
    async with database.reading() as connection:
        rows = (await connection.execute(query)).all()
    return {
        row.id: {
            "status": "live" if row.ended is None else "ended",
            "ended": row.ended,
            "outcome": row.outcome,
            "department": row.department,
            "node": row.node or "",
            "micro_usd": row.micro_usd,
            "generation": row.generation,
            "flow": row.flow_id,
            "number": row.number,
        }
        for row in rows
    }


@asynccontextmanager
async def screen(member, key="", query="", **headers):
    """A monitor that watches, once it has its first snapshot."""
    sent = {name.replace("_", "-"): text for name, text in headers.items()}
    if key:
        sent["Authorization"] = f"Bearer {key}"
    async with (
        ClientSession() as session,
        session.ws_connect(f"{member.origin}/v1/events{query}", headers=sent) as socket,
    ):
        made = Screen(socket)
        task = asyncio.create_task(made.watch())
        try:
            await made.until(lambda screen: screen.snapshots or screen.code)
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
