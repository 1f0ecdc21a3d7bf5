"""The feed in one process: who is let in, what they see, and who is thrown out."""

import asyncio
import json
import time

import msgspec
import pytest
from aiohttp import ClientSession, WSServerHandshakeError

from tests.deaf import cut_off, deaf
from tests.integration.monitors.stage import ACCOUNT, ORIGIN, Played, member, revoke
from tests.screen import screen, truth
from vocelio.gateway.api.websockets.push_socket import GONE, SILENT, Pace
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.events import Event
from vocelio.gateway.monitors.send_queue import MAX_UNSENT


async def refused(here, key="", query="", **headers):
    """The status that the socket is answered with."""
    with pytest.raises(WSServerHandshakeError) as caught:
        async with screen(here, key, query, **headers):
            pass
    return caught.value.status


async def test_a_snapshot_then_events_and_the_picture_is_the_stores(site):
    async with member(site.url) as here:
        earlier = Played(here, 1).begin()
        earlier.enter("greet")
        async with screen(here, site.viewer) as shown:
            await shown.until(lambda shown: earlier.id in shown.picture)
            later = Played(here, 2).begin()
            later.enter("greet")
            later.enter("bye")
            later.end("abandoned")
            earlier.enter("bye")
            await shown.until(lambda shown: shown.picture.get(later.id, {}).get("outcome") == "abandoned")
            await shown.right(site.database)
            assert shown.picture[later.id]["node"] == shown.picture[earlier.id]["node"] == "bye"
            assert [event["type"] for event in shown.events if event["call"] == later.id][:3] == [
                "call.started",
                "node.entered",
                "node.entered",
            ]
            assert shown.gaps == 0


async def test_live_details_come_from_events(site):
    async with member(site.url) as here:
        call = Played(here).begin()
        async with screen(here, site.viewer):
            publish, glimpse = here.calls.publish, here.calls.glimpse
            publish(call.record, "prompt.started", prompt="1", node="greet", text="Good day.", latency_ms=420)
            publish(call.record, "prompt.finished", prompt="1", late_ms=30)
            glimpse(call.record, "caller.speaking", on=True)
            glimpse(call.record, "caller.partial", text="sales pl")
            async with screen(here, site.viewer) as second:
                await second.until(lambda shown: shown.picture.get(call.id, {}).get("partial"))
                facts = second.picture[call.id]
                wanted = {"said": "Good day.", "latency_ms": 420, "late_ms": 30, "speaking": "caller"}
                assert {name: facts[name] for name in wanted} == wanted
                assert facts["partial"] == "sales pl"
                publish(call.record, "caller.heard", node="greet", text="sales please", confidence=0.9)
                await second.until(lambda shown: shown.events)
            async with screen(here, site.viewer) as third:
                assert (third.picture[call.id]["heard"], third.picture[call.id]["partial"]) == ("sales please", "")


@pytest.mark.parametrize(
    ("query", "calls"),
    [("", {1, 2}), ("?flow=night", {2}), ("?number=%2B13072249664", {2}), (f"?call=CA{1:032x}", {1})],
)
async def test_filters(site, query, calls):
    async with member(site.url) as here:
        async with screen(here, site.viewer, query) as shown:
            for place, where in ((1, {}), (2, {"flow": "night", "number": "+13072249664"})):
                Played(here, place, **where).begin().enter("greet")
            wanted = {f"CA{place:032x}" for place in calls}
            await shown.until(
                lambda shown: {call for call, facts in shown.picture.items() if facts.get("node")} == wanted
            )
            await asyncio.sleep(0.5)
            assert set(shown.picture) == wanted
        async with screen(here, site.viewer, query) as again:
            assert set(again.picture) == wanted


async def test_only_some_types_of_events(site):
    async with member(site.url) as here, screen(here, site.viewer, "?types=call.started,call.ended") as shown:
        call = Played(here).begin()
        call.enter("greet")
        call.end()
        await shown.until(lambda shown: len(shown.events) == 2)
        await shown.right(site.database)
        assert [event["type"] for event in shown.events] == ["call.started", "call.ended"]


async def test_who_is_not_let_in(site):
    async with member(site.url, guard={"per_key": 1, "per_process": 2}) as here:
        assert await refused(here) == 401
        assert await refused(here, "voc_0123456789abcdef_" + "x" * 32) == 401
        assert await refused(here, site.viewer, "?flow=..") == 422
        assert await refused(here, site.viewer, "?colour=red") == 422
        assert await refused(here, site.platform, Vocelio_Tenant="nobody") == 404
        async with screen(here, site.viewer):
            assert await refused(here, site.viewer) == 429
            async with screen(here, site.other):
                assert await refused(here, site.operator) == 429
        async with screen(here, site.operator), screen(here, site.viewer):
            pass


async def test_tickets_are_good_once_in_any_process_for_our_own_pages(site):
    async with member(site.url) as here, member(site.url) as there:
        status, made = await here.ask("POST", "/v1/events/tickets", site.viewer)
        assert status == 201
        assert 0 < made["expires"] - wall_clock() <= 30_000_000
        query = f"?ticket={made['ticket']}"
        assert await refused(there, "", query) == 403
        assert await refused(there, "", query, Origin="https://elsewhere.example") == 403
        async with screen(there, "", query, Origin=ORIGIN) as shown:
            Played(there).begin()
            await shown.until(lambda shown: shown.events)
        assert await refused(there, "", query, Origin=ORIGIN) == 401
        assert await refused(here, "", query, Origin=ORIGIN) == 401
        changed = made["ticket"].replace(".harbour.", ".canary.")
        assert await refused(here, "", f"?ticket={changed}", Origin=ORIGIN) == 401
        _, another = await here.ask("POST", "/v1/events/tickets", site.viewer)
        both = [refused(one, "", f"?ticket={another['ticket']}", Origin=ORIGIN) for one in (here, there)]
        results = await asyncio.gather(*both, return_exceptions=True)
        assert sorted(str(result) for result in results if result == 401) == ["401"], "one of two who come at once"
        _, last = await here.ask("POST", "/v1/events/tickets", site.viewer)
        await revoke(site.database, "harbour", site.viewer)
        assert await refused(here, "", f"?ticket={last['ticket']}", Origin=ORIGIN) == 401


async def test_the_platform_sees_all_or_one(site):
    async with (
        member(site.url) as here,
        screen(here, site.platform) as every,
        screen(here, site.platform, Vocelio_Tenant="canary") as one,
    ):
        ours, theirs = Played(here, 1).begin(), Played(here, 2, "canary").begin()
        await every.until(lambda shown: len(shown.events) == 2)
        await one.until(lambda shown: shown.events)
        await every.right(site.database, "")
        assert {event["call"] for event in every.events} == {ours.id, theirs.id}
        assert {event["call"] for event in one.events} == {theirs.id}
        assert set(one.picture) == {theirs.id}


async def test_a_key_that_is_revoked_ends_its_sockets_only(site):
    async with member(site.url) as here, screen(here, site.viewer) as gone, screen(here, site.operator) as stays:
        await revoke(site.database, "harbour", site.viewer)
        await gone.until(lambda shown: shown.code, 3)
        assert gone.code == GONE
        Played(here).begin()
        await stays.until(lambda shown: shown.events)


async def test_who_gives_no_sign_of_life_is_cut_off(site):
    pace = Pace(beat=0.1, silent=0.5)
    async with member(site.url, pace=pace) as here, screen(here, site.viewer) as silent:
        silent.answers = False
        async with screen(here, site.operator) as alive:
            await silent.until(lambda shown: shown.code)
            assert silent.code == SILENT
            assert alive.code is None


async def test_who_stands_still_itself_cuts_nobody_off(site):
    async with member(site.url, pace=Pace(beat=0.1, silent=0.5)) as here, screen(here, site.viewer) as alive:
        for _ in range(3):
            time.sleep(1)  # noqa: ASYNC251 (that is the trouble)
            await asyncio.sleep(0.3)
        assert alive.code is None


async def test_who_does_not_read_is_cut_off_and_costs_no_more_than_a_megabyte(site):
    async with member(site.url, pace=Pace(slow=1.0)) as here, screen(here, site.operator) as fast:
        stuck = await _stuck(here, site.viewer)
        call = Played(here).begin()
        (hub,) = here.monitors._hubs.values()
        largest = 0
        for _ in range(60):
            for _ in range(50):
                here.calls.glimpse(call.record, "caller.partial", text="x" * 2_000)
            await asyncio.sleep(0.02)
            largest = max([largest, *(outbox._size for outbox in hub.audience)])
        assert largest <= MAX_UNSENT
        async with asyncio.timeout(5):
            while len(hub.audience) > 1:  # noqa: ASYNC110 (the other side of a socket)
                await asyncio.sleep(0.05)
        stuck.close()
        call.end()
        await fast.until(lambda shown: shown.picture[call.id].get("status") == "ended")
        assert fast.code is None


async def _stuck(here, key):
    """A peer that opens a feed and never reads."""
    return await deaf(here.origin, "/v1/events", Authorization=f"Bearer {key}")


async def test_who_is_cut_off_holds_no_connection_beyond_its_limit(site):
    async with member(site.url, pace=Pace(slow=0.5), guard={"per_key": 2}) as here:
        call, before = Played(here).begin(), []
        for _ in range(2):
            now = [await _stuck(here, site.viewer) for _ in range(2)]
            assert await refused(here, site.viewer) == 429
            async with asyncio.timeout(10):
                while here.monitors.guard._open:
                    here.calls.glimpse(call.record, "caller.partial", text="x" * 2_000)
                    await asyncio.sleep(0)
            await asyncio.gather(*(cut_off(line, 0.5) for line in now))
            before += now
        for line in before:
            line.close()


async def test_a_megabyte_is_more_than_is_kept_for_who_does_not_read(site):
    """In the outbox, the server's buffer and the kernel's together."""
    async with member(site.url) as here, screen(here, site.operator):
        call = Played(here).begin()
        stuck = await _stuck(here, site.viewer)
        (hub,) = here.monitors._hubs.values()
        for _ in range(100):
            for _ in range(5):
                here.calls.glimpse(call.record, "caller.partial", text="x" * 1_900)
            await asyncio.sleep(0.01)
        assert [outbox.behind is not None for outbox in hub.audience].count(True) == 1
        stuck.close()


async def test_a_flood_costs_a_gap_and_a_snapshot_and_the_picture_is_right(site):
    async with member(site.url) as here, screen(here, site.viewer) as shown:
        call = Played(here).begin()
        for _ in range(5_000):
            here.calls.glimpse(call.record, "caller.partial", text="x" * 500)
        call.enter("bye")
        await shown.until(lambda shown: shown.gaps)
        await shown.right(site.database)


async def greeted(here, shown):
    """A call that is on the screen as it is in the store."""
    call = Played(here).begin()
    call.enter("greet")
    await shown.right(here.database)
    return call


async def test_events_that_the_bus_lost_are_mended_from_the_store(site):
    """As when a process is killed: the store has what nobody was told."""
    async with member(site.url) as here, screen(here, site.viewer) as shown:
        call = await greeted(here, shown)
        journal, record = here.calls.services.journal, call.record
        record.sequence += 1
        silent = {"tenant": "harbour", "call": call.id, "generation": 1, "seq": record.sequence, "at": wall_clock()}
        journal.tell(Event(type="node.entered", data={"node": "bye"}, **silent), "front-desk")
        call._save()
        await shown.until(lambda shown: shown.picture[call.id]["node"] == "bye", 3)
        record.outcome, record.ended = "lost", wall_clock()
        call._save()
        await shown.until(lambda shown: shown.picture[call.id]["outcome"] == "lost", 3)
        await shown.right(site.database)


async def test_events_that_the_store_will_never_have_are_taken_back(site):
    """As when a process is killed before it could write: the store is the authority."""
    async with member(site.url) as here, screen(here, site.viewer) as shown:
        call = await greeted(here, shown)
        lost = {"tenant": "harbour", "call": call.id, "generation": 1, "seq": call.record.sequence + 1}
        here.calls.services.bus.publish(Event(type="node.entered", at=wall_clock(), data={"node": "bye"}, **lost))
        await shown.until(lambda shown: shown.picture[call.id]["node"] == "bye")
        assert await shown.right(site.database) < 4


async def test_a_call_whose_flow_cannot_be_run_any_more_ends_on_every_screen(site):
    async with member(site.url) as here, screen(here, site.viewer) as shown:
        call = await greeted(here, shown)
        kept = await here.calls.find(call.id, ACCOUNT)
        await here.calls.settle(msgspec.structs.replace(kept, state=None, due=0))
        await shown.until(lambda shown: shown.picture[call.id]["status"] == "ended", 3)
        ended = shown.events[-1]["data"]
        assert (ended["outcome"], ended["tier"]) == ("failed", "local")
        assert ended["micro_usd"] == shown.picture[call.id]["micro_usd"]
        await shown.right(site.database)


async def test_an_event_that_cannot_be_shown_is_mended_from_the_store(site):
    """As one of another release may be."""
    async with member(site.url) as here, screen(here, site.viewer) as shown:
        call = await greeted(here, shown)
        here.calls.publish(call.record, "call.ended", outcome="completed", department="", disposition="")
        call.end()
        await shown.until(lambda shown: shown.picture[call.id]["status"] == "ended", 3)
        await shown.right(site.database)


async def test_calls_that_have_ended_of_late_are_shown_to_who_comes_later(site):
    async with member(site.url) as here:
        call = Played(here).begin()
        call.enter("greet")
        call.end("transferred")
        async with asyncio.timeout(5):
            while (await truth(site.database, "harbour")).get(call.id, {}).get("status") != "ended":  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        async with screen(here, site.viewer) as shown:
            assert shown.picture[call.id]["outcome"] == "transferred"
            assert not shown.events


async def test_a_large_snapshot_comes_in_parts(site):
    async with member(site.url) as here:
        for place in range(1, 252):
            Played(here, place).begin()
        async with screen(here, site.viewer) as shown:
            await shown.until(lambda shown: len(shown.picture) == 251)
            await shown.right(site.database)
        async with screen(here, site.viewer) as again:
            parts = [message for message in again.messages if message["message"] == "snapshot"]
            assert [(len(part["calls"]), part["first"], part["last"]) for part in parts] == [
                (100, True, False),
                (100, False, False),
                (51, False, True),
            ]


async def test_nothing_is_left_when_the_last_has_gone(site):
    async with member(site.url) as here:
        async with screen(here, site.viewer), screen(here, site.operator):
            assert len(here.monitors._hubs) == 1
        async with asyncio.timeout(5):
            while here.monitors._hubs:  # noqa: ASYNC110 (the other side of a socket)
                await asyncio.sleep(0.02)
        assert here.calls.services.bus._watchers == {}


async def test_live_totals(site):
    async with member(site.url) as here:
        for place, parts in enumerate(({}, {"flow": "night"}, {"tenant": "canary"}), 1):
            Played(here, place, **parts).begin()
        await asyncio.sleep(0.3)
        _, ours = await here.ask("GET", "/v1/live", site.viewer)
        assert (ours["calls"], ours["flows"]) == (
            2,
            [{"name": "front-desk", "calls": 1}, {"name": "night", "calls": 1}],
        )
        assert ours["numbers"] == [{"name": "+13072249663", "calls": 2}]
        assert len(ours["processes"]) == 1
        _, every = await here.ask("GET", "/v1/live", site.platform)
        assert {one["name"]: one["calls"] for one in every["tenants"]} == {"harbour": 2, "canary": 1}
        assert "canary" not in json.dumps(ours)


async def test_the_refusal_is_a_problem(site):
    async with member(site.url) as here, ClientSession() as session:
        headers = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
            "X-Request-Id": "one",
        }
        async with session.get(f"{here.origin}/v1/events", headers=headers) as answer:
            problem = await answer.json(content_type="application/problem+json")
            assert (answer.status, problem["status"], answer.headers["X-Request-Id"]) == (401, 401, "one")
