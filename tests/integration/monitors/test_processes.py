"""Two processes on one Redis and one PostgreSQL: monitors of one see calls of the other, whatever happens to Redis."""

import asyncio
import itertools
from contextlib import asynccontextmanager

import pytest

from tests.integration.monitors.stage import Played, member, revoke, subscribed
from tests.proxy import Proxy
from tests.screen import screen
from vocelio.gateway.api.websockets.push_socket import GONE
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.events import Event
from vocelio.gateway.events.bus import channel

RECOVERED = 3.0  # seconds from when all is well again until every picture is right


async def traffic(here, stop):
    """Calls that come, move and go, until told otherwise."""
    calls = [Played(here, place).begin() for place in range(1, 11)]
    for step in itertools.count():
        call = calls[step % len(calls)]
        call.enter(f"node-{step % 7}")
        if step % 25 == 24:
            call.end("abandoned")
            calls[step % len(calls)] = Played(here, 100 + step).begin()
        if stop.is_set():
            return
        await asyncio.sleep(0.01)


async def test_a_monitor_sees_the_calls_of_the_other_process(shared, redis):
    async with (
        member(shared.url, redis.url) as here,
        member(shared.url, redis.url) as there,
        screen(there, shared.viewer, "") as shown,
        screen(there, shared.platform) as every,
    ):
        await subscribed(redis, channel("harbour"))
        await subscribed(redis, channel(""))
        call = Played(here).begin()
        call.enter("greet")
        await shown.until(lambda shown: shown.picture.get(call.id, {}).get("node") == "greet", 2)
        await every.until(lambda shown: shown.picture.get(call.id, {}).get("node") == "greet", 2)
        call.end("transferred")
        await shown.until(lambda shown: shown.picture[call.id].get("outcome") == "transferred", 2)
        await shown.right(shared.database)
        types = [event["type"] for event in shown.events]
        assert types == ["call.started", "node.entered", "cost.updated", "call.ended"], "each once"
        assert shown.gaps == every.gaps == 0


@pytest.mark.parametrize("fault", ["cut", "stall", "kill", "pause"])
async def test_after_any_fault_the_picture_is_right_within_seconds(shared, redis, fault):
    async with Proxy(redis.socket) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        async with (
            member(shared.url, url) as here,
            member(shared.url, url) as there,
            screen(there, shared.viewer) as shown,
            screen(here, shared.viewer) as near,
        ):
            stop = asyncio.Event()
            going = asyncio.create_task(traffic(here, stop))
            await asyncio.sleep(0.5)
            if fault in ("cut", "stall"):
                await getattr(proxy, fault)()
            else:
                getattr(redis, fault)()
            await asyncio.sleep(1.5)
            if fault in ("cut", "stall"):
                await proxy.mend()
            else:
                redis.start()
            await asyncio.sleep(0.3)
            stop.set()
            await going
            assert await shown.right(shared.database) < RECOVERED
            assert await near.right(shared.database) < RECOVERED
            assert shown.code is near.code is None


@asynccontextmanager
async def watched(shared, redis):
    """A process, and a screen at another one."""
    async with (
        member(shared.url, redis.url) as here,
        member(shared.url, redis.url) as there,
        screen(there, shared.viewer) as shown,
    ):
        await subscribed(redis, channel("harbour"))
        yield here, shown


async def test_calls_that_came_and_went_while_redis_was_away_are_shown(shared, redis):
    async with watched(shared, redis) as (here, shown):
        redis.kill()
        for place in range(1, 9):
            call = Played(here, place).begin()
            call.enter("greet")
            call.end()
        await asyncio.sleep(1)
        redis.start()
        assert await shown.right(shared.database) < RECOVERED
        assert len(shown.picture) == 8


async def test_the_store_away_and_back(shared, redis, postgres):
    async with watched(shared, redis) as (here, shown):
        call = Played(here).begin()
        call.enter("greet")
        await shown.right(shared.database)
        postgres.pause()
        call.enter("bye")
        await shown.until(lambda shown: shown.picture[call.id]["node"] == "bye", 2)
        await asyncio.sleep(1)
        postgres.go_on()
        call.end()
        assert await shown.right(shared.database) < RECOVERED + 1


async def test_revoked_on_all_processes(shared, redis):
    async with (
        member(shared.url, redis.url) as here,
        member(shared.url, redis.url) as there,
        screen(here, shared.viewer) as one,
        screen(there, shared.viewer) as two,
    ):
        await revoke(shared.database, "harbour", shared.viewer)
        for shown in (one, two):
            await shown.until(lambda shown: shown.code, 3)
            assert shown.code == GONE


async def test_hundreds_of_tenants_and_nobody_sees_what_is_not_theirs(shared, redis):
    async with (
        member(shared.url, redis.url) as here,
        member(shared.url, redis.url) as there,
        screen(there, shared.viewer) as ours,
        screen(there, shared.other) as theirs,
    ):
        await subscribed(redis, channel("harbour"))
        for number in range(300):
            for tenant in ("harbour", "canary", f"tenant-{number}", f"harbour-{number}"):
                event = Event(
                    tenant=tenant,
                    call=f"CA-{tenant}",
                    generation=1,
                    seq=number + 1,
                    type="note.made",
                    at=wall_clock(),
                    data={"of": tenant},
                )
                here.calls.services.bus.publish(event)
        await ours.until(lambda shown: len(shown.events) == 300)
        await theirs.until(lambda shown: len(shown.events) == 300)
        assert {event["data"]["of"] for event in ours.events} == {"harbour"}
        assert {event["data"]["of"] for event in theirs.events} == {"canary"}
        heard = redis.ask("PUBSUB", "CHANNELS", "vocelio:events*")
        assert heard.count(channel("harbour").encode()) == 1
        assert b"tenant-" not in heard


async def test_what_is_no_event_on_a_channel_harms_nobody(shared, redis):
    async with watched(shared, redis) as (here, shown):
        strange = (b"", b"{", b"{}", b'{"tenant":"canary"}', b'{"tenant":"\xff"}', b'{"a":' * 100_000)
        for body in ("", "m", "?", *(b"mxxxxxxxx" + body for body in strange)):
            for where in ("events:harbour", "operators", "listeners"):
                redis.ask("PUBLISH", f"vocelio:{where}", body)
        other = '{"tenant":"canary","call":"CA1","generation":1,"seq":1,"type":"x.y","at":1,"data":{}}'
        for event in (other, other.replace("canary", "harbour").replace("x.y", "node.entered")):
            redis.ask("PUBLISH", channel("harbour"), f"mxxxxxxxx{event}")
        Played(here).begin()
        await shown.until(lambda shown: any(event["type"] == "call.started" for event in shown.events))
        assert all(event["tenant"] == "harbour" for event in shown.events)
        assert await shown.right(shared.database) < RECOVERED
