"""A thousand tenants with a live call each, in two processes: whoever asks, or watches, finds nothing of another's.

All that is a tenant's says whose it is: its names, its number, its call, every text and sound. So what a key receives,
as it came by the wire, is searched for anybody else's mark; and its own must be there, or else that would show nothing.
"""

import asyncio
import json
import re
from contextlib import AsyncExitStack

import pytest
from aiohttp import ClientSession, WSMsgType
from sqlalchemy import func, insert, select

from tests.support.monitor_client import open_monitor
from tests.support.monitoring_env import ScriptedCall, _actor, running_member
from vocelio.gateway.calls.control.commands import NOT_HERE, CommandResult
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.events.bus import event_channel
from vocelio.gateway.model.tenant import Department, Tenant
from vocelio.gateway.store import api_keys
from vocelio.gateway.store.api_keys import NewApiKey
from vocelio.gateway.store.audit import dump_json
from vocelio.gateway.store.db.schema import audit_log, call_events, departments
from vocelio.gateway.store.db.schema import calls as call_rows
from vocelio.gateway.store.db.schema import tenants as tenant_rows
from vocelio.gateway.store.tenants import tenants

TENANTS, SAMPLED, LISTENERS = 1_000, 30, 12
PATIENCE = 60  # seconds, for each step
AT_EASE = 0.02  # seconds late at most: a loop that has little to do
MARK = re.compile(rb"(?:canary-|CA\d{28}|\+1307224)(\d{4})")
TALK = ("node.entered", "prompt.started", "transcript.partial", "transcript.final")
WRITTEN = TENANTS * 4  # events of timelines before calls end: their starts, and of TALK all but what is passing
COMMANDS = (
    ("hangup", None),
    ("transfer", {"department": "desk"}),
    ("say", {"text": "Hello."}),
    ("jump", {"node": "greet"}),
)
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}
ASKED = (
    *(("POST", f"/v1/calls/{{}}/{command}", body, {}, 202) for command, body in COMMANDS),
    ("GET", "/v1/calls/{}", None, {}, 200),
    ("GET", "/v1/calls/{}/audio", None, UPGRADE, None),  # one's own is heard below
)
NOBODYS = f"CA{9999:032}"
GENTLY = asyncio.Semaphore(8)  # requests at a time


class CanaryTenant:
    """A tenant with a live call, which records commands and listeners."""

    def __init__(self, number, processes):
        self.number, self.mark, self.tenant = number, f"{number:04}".encode(), f"canary-{number:04}"
        self.at, self.watched = processes[number % 2], processes[number // 2 % 2]
        self.account, self.key, self.commands, self.sinks, self.generation = "", "", [], [], 1
        place = int(str(number), 16)  # its name has the number in decimal
        self.played = ScriptedCall(self.at, place, self.tenant, f"{self.tenant}-flow", f"+1307224{number:04}")
        self.call = self.played.id

    def begin(self):
        """Start the call in its process."""
        self.played.start()
        self.at.calls.registry.live_calls[self.call] = self

    def talk(self):
        """Publish one event of each kind."""
        publisher, call = self.at.calls.publisher, self.played.record.stored
        self.played.enter_node(self.tenant)
        publisher.publish(call, "prompt.started", prompt="1", node=self.tenant, text=f"Good day, {self.tenant}.")
        publisher.publish_transient(call, "transcript.partial", text=f"I am {self.tenant}")
        publisher.publish(call, "transcript.final", node=self.tenant, text=f"I am {self.tenant}.", confidence=0.9)

    def end(self):
        """End the call."""
        self.played.end("completed")

    def sound(self):
        """Send a tenth of a second of audio."""
        for sink in list(self.sinks):
            sink(self.tenant.encode())

    def check_command(self, command, value):
        return CommandResult("accepted", self.tenant)

    def execute_command(self, command, value):
        self.commands.append(command)
        return self.check_command(command, value)

    def listen_in(self, sink):
        self.sinks.append(sink)
        return lambda: self.sinks.remove(sink)

    def heartbeat(self):
        pass


@pytest.fixture
async def thousand_tenants(postgres_database, redis):
    """Create all tenants with their calls in two processes; some of them have a key."""
    await create_tenants(postgres_database.database)
    pace = {
        "poll_interval": 1.0,
        "pubsub_heartbeat": 2.0,
    }  # calmer than others here: both processes are on one event loop, and busy
    async with (
        running_member(postgres_database.url, redis.url, **pace) as current,
        running_member(postgres_database.url, redis.url, **pace) as there,
    ):
        everybody = [CanaryTenant(number, (current, there)) for number in range(1, TENANTS + 1)]
        await for_each_tenant(everybody, CanaryTenant.begin)
        sampled = everybody[:: TENANTS // SAMPLED + 1]
        for item in sampled:
            item.key = (
                await api_keys.create_key(postgres_database.database, _actor(item.tenant), NewApiKey("operator"))
            ).secret
        await wait_until(lambda: wait_for_row_count(postgres_database.database, call_rows, TENANTS))
        yield everybody, sampled


async def create_tenants(database):
    """Create the tenants, each with a department."""
    now = wall_clock()
    same = {"account_sid": None, "auth_token": None, "revision": 1, "suspended": False, "created_at": now}
    names = [f"canary-{number:04}" for number in range(1, TENANTS + 1)]
    rows = [{"id": name, **same, **tenants._to_columns(Tenant(id=name, name=name))} for name in names]
    desk = {"name": "desk", "settings": dump_json(Department(("+13105550110",))), "updated_at": now}
    async with database.transaction() as connection:
        await connection.execute(insert(tenant_rows), rows)
        await connection.execute(insert(departments), [{"tenant_id": name, **desk} for name in names])


async def for_each_tenant(everybody, happens):
    """Apply a step to all tenants, slowly enough that an overloaded machine loses no messages."""
    loop = asyncio.get_running_loop()
    for place, item in enumerate(everybody):
        happens(item)
        while place % 20 == 0:
            began = loop.time()
            await asyncio.sleep(0.002)
            if loop.time() - began < AT_EASE:
                break


async def wait_until(so):
    """Wait until the condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not await so():  # noqa: ASYNC110 (it is so in a server)
            await asyncio.sleep(0.1)


async def wait_for_row_count(database, table, wanted):
    """Return whether the table has that many rows."""
    async with database.read() as connection:
        return await connection.scalar(select(func.count()).select_from(table)) == wanted


def foreign_marks(raw, item):
    """Return the marks of other tenants; the own one must be there."""
    result = set(MARK.findall(raw))
    assert item.mark in result, (item.tenant, raw[:500])
    return result - {item.mark}


@pytest.mark.timeout(300)
async def test_nothing_crosses_tenants(thousand_tenants, postgres_database, redis):
    everybody, sampled = thousand_tenants
    platforms = sampled[1]  # whom the platform's key names, too
    async with AsyncExitStack() as stack, ClientSession() as session:
        all_items = await stack.enter_async_context(open_monitor(everybody[0].at, postgres_database.platform))
        ways = [(item, open_monitor(item.watched, item.key)) for item in sampled]
        ways.append(
            (platforms, open_monitor(platforms.watched, postgres_database.platform, Vocelio_Tenant=platforms.tenant))
        )
        opened = await asyncio.gather(*(stack.enter_async_context(way) for _, way in ways))
        listed = [(item, watches) for (item, _), watches in zip(ways, opened, strict=True)]
        try:
            await wait_until_subscribed(redis, everybody, sampled)
            await for_each_tenant(everybody, CanaryTenant.talk)
            await wait_until_seen(listed, *TALK)
            await check_calls_refused(session, postgres_database.database, everybody, sampled)
            await check_listen_in(session, everybody, sampled[:LISTENERS])
            await asyncio.gather(*(check_lists(session, item) for item in sampled))
            for item in sampled:
                redis.command("PUBLISH", event_channel(item.tenant), "gxxxxxxxx")  # as if a message had been lost
            await asyncio.gather(
                *(watches.wait_until(lambda item: item.snapshots > 1, PATIENCE) for _, watches in listed)
            )
            await for_each_tenant(everybody, CanaryTenant.end)
            await wait_until_seen(listed, "call.ended")
        finally:  # whoever sees too much may not see the rest in time
            for item, watches in listed:
                assert foreign_marks("\n".join(watches.texts).encode(), item) == set()
    for _, watches in listed:
        assert {message["message"] for message in watches.messages} >= {"snapshot", "event", "changes", "gap"}
    assert len(set(MARK.findall("\n".join(all_items.texts).encode()))) == TENANTS


async def wait_until_subscribed(redis, everybody, sampled):
    """Wait until each process has subscribed exactly the channels of its watched tenants."""
    channels = sorted(event_channel(item.tenant).encode() for item in sampled)

    async def stand():
        result = redis.command("PUBSUB", "CHANNELS", "vocelio:events:*")
        return sorted(re.findall(rb"vocelio:events:[\w-]+", result)) == channels

    await wait_until(stand)
    counts = redis.command("PUBSUB", "NUMSUB", *(name.decode() for name in channels))
    assert re.findall(rb":(\d+)\r", counts) == [b"1"] * len(sampled), "of the two processes one"
    for process in (everybody[0].at, everybody[1].at):
        wanted = {item.tenant for item in sampled if item.watched is process}
        assert set(process.calls.services.bus._remote_unsubscribes) - {""} == wanted


async def wait_until_seen(listed, *kinds):
    """Wait until every monitor has these events of its tenant's call."""
    for _, watches in listed:
        await watches.wait_until(lambda watches: {event["type"] for event in watches.events} >= set(kinds), PATIENCE)


async def check_calls_refused(session, database, everybody, sampled):
    """Check that calls of other tenants are answered like missing ones, without any effect."""
    await wait_until(lambda: wait_for_row_count(database, call_events, WRITTEN))
    await asyncio.gather(*(try_all_operations(session, item, pick_victims(everybody, item)) for item in sampled))
    strays = [
        item.watched.calls.command_router.execute_command(item.tenant, victim.call, "hang_up")  # past the API, too
        for item in sampled[:LISTENERS]
        for victim in pick_victims(everybody, item)
    ]
    assert set(await asyncio.gather(*strays)) == {NOT_HERE}
    for item in everybody:
        assert item.commands == (["hang_up", "transfer", "say", "jump"] if item in sampled else [])
    assert await wait_for_row_count(database, call_events, WRITTEN)
    async with database.read() as connection:
        rows = (await connection.execute(select(audit_log).where(audit_log.c.action.like("call.%")))).all()
    assert len(rows) == len(COMMANDS) * len(sampled)
    assert all(row.tenant_id[-4:] == row.target[-4:] for row in rows)


def pick_victims(everybody, item):
    """Return two other tenants: one with its call in the same process, one in the other."""
    return [everybody[(item.number + step) % TENANTS] for step in (0, 1)]


async def try_all_operations(session, item, victims):
    """Try all operations on calls."""
    for method, path, body, headers, own in ASKED:
        if own:
            assert (await request_as(session, item, method, path.format(item.call), body))[0] == own
        nothing = await request_as(session, item, method, path.format(NOBODYS), body, headers)
        assert nothing[0] == 404, nothing
        for victim in victims:
            status, raw = await request_as(session, item, method, path.format(victim.call), body, headers)
            assert (status, raw.replace(victim.call, NOBODYS)) == nothing


async def request_as(session, item, method, path, body=None, headers=()):
    """Send a request with the tenant's key; return status and body."""
    sent = {"Authorization": f"Bearer {item.key}", "X-Request-Id": "one", **dict(headers)}
    async with GENTLY, session.request(method, f"{item.watched.origin}{path}", json=body, headers=sent) as answer:
        return answer.status, await answer.text()


async def check_listen_in(session, everybody, listeners):
    """Check that a listener hears its own call, in any process, and no other."""
    stray = []
    async with AsyncExitStack() as stack:
        recognizers = []
        for item in listeners:
            url, headers = f"{item.watched.origin}/v1/calls/{item.call}/audio", {"Authorization": f"Bearer {item.key}"}
            recognizers.append(await stack.enter_async_context(session.ws_connect(url, headers=headers)))
            for victim in pick_victims(everybody, item):
                stack.enter_context(
                    item.watched.calls.listen_in_relay.subscribe(item.tenant, victim.call, stray.append)
                )
        sounds = asyncio.gather(*(receive_audio(recognizer) for recognizer in recognizers))
        while not sounds.done():
            for item in everybody:
                item.sound()
            await asyncio.sleep(0.1)
        for item, sound in zip(listeners, await sounds, strict=True):
            assert foreign_marks(sound, item) == set()
    assert stray == []


async def receive_audio(recognizer):
    """Receive some audio."""
    pieces = []
    async with asyncio.timeout(PATIENCE):
        while len(pieces) < 10:
            message = await recognizer.receive()
            if message.type is WSMsgType.BINARY:
                pieces.append(message.data)
    return b" ".join(pieces)


async def check_lists(session, item):
    """Check lists and reports for data of other tenants."""
    for path in ("/v1/live", "/v1/calls?limit=200", f"/v1/calls/{item.call}", "/v1/usage?by=tenant,flow", "/v1/me"):
        status, raw = await request_as(session, item, "GET", path)
        assert (status, foreign_marks(raw.encode(), item)) == (200, set())
        if path == "/v1/live":  # a number has no mark
            totals = json.loads(raw)
            assert [totals["calls"], *sorted(item["calls"] for item in totals["processes"])] == [1, 0, 1]
