"""Two processes on one Redis and one PostgreSQL: monitors of one see calls of the other, whatever happens to Redis."""

import asyncio
import itertools
from contextlib import asynccontextmanager

import pytest

from tests.support.faulty_tcp_proxy import FaultyTcpProxy
from tests.support.monitor_client import open_monitor
from tests.support.monitoring_env import ScriptedCall, revoke_key, running_member, wait_until_subscribed
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.close_codes import CloseCode
from vocelio.gateway.events import Event
from vocelio.gateway.events.bus import event_channel

RECOVERED = 3.0  # seconds from when all is well again until every picture is right


async def run_traffic(current, stop):
    """Start, move and end calls until stopped."""
    calls = [ScriptedCall(current, place).start() for place in range(1, 11)]
    for step in itertools.count():
        call = calls[step % len(calls)]
        call.enter_node(f"node-{step % 7}")
        if step % 25 == 24:
            call.end("abandoned")
            calls[step % len(calls)] = ScriptedCall(current, 100 + step).start()
        if stop.is_set():
            return
        await asyncio.sleep(0.01)


async def test_monitor_sees_calls_of_another_process(postgres_database, redis):
    async with (
        running_member(postgres_database.url, redis.url) as current,
        running_member(postgres_database.url, redis.url) as there,
        open_monitor(there, postgres_database.viewer, "") as listed,
        open_monitor(there, postgres_database.platform) as all_items,
    ):
        await wait_until_subscribed(redis, event_channel("harbour"))
        await wait_until_subscribed(redis, event_channel(""))
        call = ScriptedCall(current).start()
        call.enter_node("greet")
        await listed.wait_until(lambda listed: listed.call_views.get(call.id, {}).get("node") == "greet", 2)
        await all_items.wait_until(lambda listed: listed.call_views.get(call.id, {}).get("node") == "greet", 2)
        call.end("transferred")
        await listed.wait_until(lambda listed: listed.call_views[call.id].get("outcome") == "transferred", 2)
        await listed.wait_until_consistent(postgres_database.database)
        types = [event["type"] for event in listed.events]
        assert types == ["call.started", "node.entered", "cost.updated", "call.ended"], "each once"
        assert listed.gaps == all_items.gaps == 0


@pytest.mark.parametrize("fault", ["cut", "stall", "kill", "pause"])
async def test_views_are_consistent_within_seconds_after_any_redis_fault(postgres_database, redis, fault):
    async with FaultyTcpProxy(redis.socket) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        async with (
            running_member(postgres_database.url, url) as current,
            running_member(postgres_database.url, url) as there,
            open_monitor(there, postgres_database.viewer) as listed,
            open_monitor(current, postgres_database.viewer) as near,
        ):
            stop = asyncio.Event()
            going = asyncio.create_task(run_traffic(current, stop))
            await asyncio.sleep(0.5)
            if fault in ("cut", "stall"):
                await getattr(proxy, fault)()
            else:
                getattr(redis, fault)()
            await asyncio.sleep(1.5)
            if fault in ("cut", "stall"):
                await proxy.restore()
            else:
                redis.start()
            await asyncio.sleep(0.3)
            stop.set()
            await going
            assert await listed.wait_until_consistent(postgres_database.database) < RECOVERED
            assert await near.wait_until_consistent(postgres_database.database) < RECOVERED
            assert listed.close_code is near.close_code is None


@asynccontextmanager
async def process_and_monitor(shared, redis):
    """Start a process, and a monitor at another one."""
    async with (
        running_member(shared.url, redis.url) as current,
        running_member(shared.url, redis.url) as there,
        open_monitor(there, shared.viewer) as listed,
    ):
        await wait_until_subscribed(redis, event_channel("harbour"))
        yield current, listed


async def test_calls_during_a_redis_outage_are_shown(postgres_database, redis):
    async with process_and_monitor(postgres_database, redis) as (current, listed):
        redis.kill()
        for place in range(1, 9):
            call = ScriptedCall(current, place).start()
            call.enter_node("greet")
            call.end()
        await asyncio.sleep(1)
        redis.start()
        assert await listed.wait_until_consistent(postgres_database.database) < RECOVERED
        assert len(listed.call_views) == 8


async def test_views_are_consistent_after_a_database_outage(postgres_database, redis, postgres):
    async with process_and_monitor(postgres_database, redis) as (current, listed):
        call = ScriptedCall(current).start()
        call.enter_node("greet")
        await listed.wait_until_consistent(postgres_database.database)
        postgres.pause()
        call.enter_node("bye")
        await listed.wait_until(lambda listed: listed.call_views[call.id]["node"] == "bye", 2)
        await asyncio.sleep(1)
        postgres.resume()
        call.end()
        assert await listed.wait_until_consistent(postgres_database.database) < RECOVERED + 1


async def test_revoked_key_is_disconnected_in_all_processes(postgres_database, redis):
    async with (
        running_member(postgres_database.url, redis.url) as current,
        running_member(postgres_database.url, redis.url) as there,
        open_monitor(current, postgres_database.viewer) as item,
        open_monitor(there, postgres_database.viewer) as two,
    ):
        await revoke_key(postgres_database.database, "harbour", postgres_database.viewer)
        for listed in (item, two):
            await listed.wait_until(lambda listed: listed.close_code, 3)
            assert listed.close_code == CloseCode.KEY_REVOKED


async def test_monitors_of_hundreds_of_tenants_see_their_own_calls_only(postgres_database, redis):
    async with (
        running_member(postgres_database.url, redis.url) as current,
        running_member(postgres_database.url, redis.url) as there,
        open_monitor(there, postgres_database.viewer) as ours,
        open_monitor(there, postgres_database.other) as theirs,
    ):
        await wait_until_subscribed(redis, event_channel("harbour"))
        for number in range(300):
            for tenant in ("harbour", "canary", f"tenant-{number}", f"harbour-{number}"):
                event = Event(
                    tenant=tenant,
                    call=f"CA-{tenant}",
                    generation=1,
                    sequence=number + 1,
                    type="note.made",
                    occurred_at=wall_clock(),
                    data={"of": tenant},
                )
                current.calls.services.bus.publish(event)
        await ours.wait_until(lambda listed: len(listed.events) == 300)
        await theirs.wait_until(lambda listed: len(listed.events) == 300)
        assert {event["data"]["of"] for event in ours.events} == {"harbour"}
        assert {event["data"]["of"] for event in theirs.events} == {"canary"}
        heard = redis.command("PUBSUB", "CHANNELS", "vocelio:events*")
        assert heard.count(event_channel("harbour").encode()) == 1
        assert b"tenant-" not in heard


async def test_foreign_messages_on_a_channel_are_ignored(postgres_database, redis):
    async with process_and_monitor(postgres_database, redis) as (current, listed):
        strange = (b"", b"{", b"{}", b'{"tenant":"canary"}', b'{"tenant":"\xff"}', b'{"a":' * 100_000)
        for body in ("", "m", "?", *(b"mxxxxxxxx" + body for body in strange)):
            for where in ("events:harbour", "operators", "listeners"):
                redis.command("PUBLISH", f"vocelio:{where}", body)
        other = '{"tenant":"canary","call":"CA1","generation":1,"sequence":1,"type":"x.y","occurred_at":1,"data":{}}'
        for event in (other, other.replace("canary", "harbour").replace("x.y", "node.entered")):
            redis.command("PUBLISH", event_channel("harbour"), f"mxxxxxxxx{event}")
        ScriptedCall(current).start()
        await listed.wait_until(lambda listed: any(event["type"] == "call.started" for event in listed.events))
        assert all(event["tenant"] == "harbour" for event in listed.events)
        assert await listed.wait_until_consistent(postgres_database.database) < RECOVERED
