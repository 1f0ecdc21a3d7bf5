"""The event feed of one process: access, content, consistency, disconnection."""

import asyncio
import json
import time

import msgspec
import pytest
from aiohttp import ClientSession, WSServerHandshakeError

from tests.support.monitor_client import open_monitor, stored_calls
from tests.support.monitoring_env import ACCOUNT, ORIGIN, ScriptedCall, revoke_key, running_member
from tests.support.non_reading_peer import open_non_reading_socket, wait_until_reset
from vocelio.gateway.api.websockets.push_socket import HeartbeatSettings
from vocelio.gateway.clock import from_rfc3339, wall_clock
from vocelio.gateway.close_codes import CloseCode
from vocelio.gateway.events import Event
from vocelio.gateway.monitors.send_queue import MAX_QUEUED_BYTES


async def refusal_status(current, key="", query="", **headers):
    """Return the status of a rejected connection."""
    with pytest.raises(WSServerHandshakeError) as caught:
        async with open_monitor(current, key, query, **headers):
            pass
    return caught.value.status


async def test_monitor_gets_snapshot_and_events_and_agrees_with_the_database(sqlite_database):
    async with running_member(sqlite_database.url) as current:
        earlier = ScriptedCall(current, 1).start()
        earlier.enter_node("greet")
        async with open_monitor(current, sqlite_database.viewer) as body:
            await body.wait_until(lambda body: earlier.id in body.call_views)
            later = ScriptedCall(current, 2).start()
            later.enter_node("greet")
            later.enter_node("bye")
            later.end("abandoned")
            earlier.enter_node("bye")
            await body.wait_until(lambda body: body.call_views.get(later.id, {}).get("outcome") == "abandoned")
            await body.wait_until_consistent(sqlite_database.database)
            assert body.call_views[later.id]["node"] == body.call_views[earlier.id]["node"] == "bye"
            assert [event["type"] for event in body.events if event["call"] == later.id][:3] == [
                "call.started",
                "node.entered",
                "node.entered",
            ]
            assert body.gaps == 0


async def test_transient_fields_come_from_events(sqlite_database):
    async with running_member(sqlite_database.url) as current:
        call = ScriptedCall(current).start()
        async with open_monitor(current, sqlite_database.viewer):
            publisher = current.calls.publisher
            publisher.publish(
                call.record.stored, "prompt.started", prompt="1", node="greet", text="Good day.", latency_ms=420
            )
            publisher.publish(call.record.stored, "prompt.finished", prompt="1", playout_gap_ms=30)
            publisher.publish_transient(call.record.stored, "caller.speaking", speaking=True)
            publisher.publish_transient(call.record.stored, "transcript.partial", text="sales pl")
            async with open_monitor(current, sqlite_database.viewer) as second:
                await second.wait_until(lambda body: body.call_views.get(call.id, {}).get("partial_transcript"))
                facts = second.call_views[call.id]
                wanted = {"prompt": "Good day.", "latency_ms": 420, "playout_gap_ms": 30, "speaking": "caller"}
                assert {name: facts[name] for name in wanted} == wanted
                assert facts["partial_transcript"] == "sales pl"
                publisher.publish(
                    call.record.stored, "transcript.final", node="greet", text="sales please", confidence=0.9
                )
                await second.wait_until(lambda body: body.events)
            async with open_monitor(current, sqlite_database.viewer) as third:
                assert (third.call_views[call.id]["transcript"], third.call_views[call.id]["partial_transcript"]) == (
                    "sales please",
                    "",
                )


@pytest.mark.parametrize(
    ("query", "calls"),
    [("", {1, 2}), ("?flow=night", {2}), ("?number=%2B13072249664", {2}), (f"?call=CA{1:032x}", {1})],
)
async def test_filters_select_calls(sqlite_database, query, calls):
    async with running_member(sqlite_database.url) as current:
        async with open_monitor(current, sqlite_database.viewer, query) as body:
            for place, where in ((1, {}), (2, {"flow": "night", "number": "+13072249664"})):
                ScriptedCall(current, place, **where).start().enter_node("greet")
            wanted = {f"CA{place:032x}" for place in calls}
            await body.wait_until(
                lambda body: {call for call, facts in body.call_views.items() if facts.get("node")} == wanted
            )
            await asyncio.sleep(0.5)
            assert set(body.call_views) == wanted
        async with open_monitor(current, sqlite_database.viewer, query) as again:
            assert set(again.call_views) == wanted


async def test_types_filter_selects_events_and_keeps_calls_consistent(sqlite_database):
    async with (
        running_member(sqlite_database.url) as current,
        open_monitor(current, sqlite_database.viewer, "?types=call.started,call.ended") as body,
    ):
        call = ScriptedCall(current).start()
        call.enter_node("greet")
        call.end()
        await body.wait_until(lambda body: len(body.events) == 2)
        await body.wait_until_consistent(sqlite_database.database)
        assert [event["type"] for event in body.events] == ["call.started", "call.ended"]


async def test_unauthorized_connections_are_rejected(sqlite_database):
    async with running_member(sqlite_database.url, guard={"max_per_key": 1, "max_per_process": 2}) as current:
        assert await refusal_status(current) == 401
        assert await refusal_status(current, "voc_0123456789abcdef_" + "x" * 32) == 401
        assert await refusal_status(current, sqlite_database.viewer, "?flow=..") == 422
        assert await refusal_status(current, sqlite_database.viewer, "?colour=red") == 422
        assert await refusal_status(current, sqlite_database.platform, Vocelio_Tenant="nobody") == 404
        async with open_monitor(current, sqlite_database.viewer):
            assert await refusal_status(current, sqlite_database.viewer) == 429
            async with open_monitor(current, sqlite_database.other):
                assert await refusal_status(current, sqlite_database.operator) == 429
        async with open_monitor(current, sqlite_database.operator), open_monitor(current, sqlite_database.viewer):
            pass


async def test_ticket_is_valid_once_in_any_process_for_own_pages(sqlite_database):
    async with running_member(sqlite_database.url) as current, running_member(sqlite_database.url) as there:
        status, made = await current.request("POST", "/v1/events/tickets", sqlite_database.viewer)
        assert status == 201
        assert 0 < from_rfc3339(made["expires_at"]) - wall_clock() <= 30_000_000
        query = f"?ticket={made['ticket']}"
        assert await refusal_status(there, "", query) == 403
        assert await refusal_status(there, "", query, Origin="https://elsewhere.example") == 403
        async with open_monitor(there, "", query, Origin=ORIGIN) as body:
            ScriptedCall(there).start()
            await body.wait_until(lambda body: body.events)
        assert await refusal_status(there, "", query, Origin=ORIGIN) == 401
        assert await refusal_status(current, "", query, Origin=ORIGIN) == 401
        changed = made["ticket"].replace(".harbour.", ".canary.")
        assert await refusal_status(current, "", f"?ticket={changed}", Origin=ORIGIN) == 401
        _, another = await current.request("POST", "/v1/events/tickets", sqlite_database.viewer)
        both = [refusal_status(item, "", f"?ticket={another['ticket']}", Origin=ORIGIN) for item in (current, there)]
        results = await asyncio.gather(*both, return_exceptions=True)
        assert sorted(str(result) for result in results if result == 401) == ["401"], "one of two who come at once"
        _, last = await current.request("POST", "/v1/events/tickets", sqlite_database.viewer)
        await revoke_key(sqlite_database.database, "harbour", sqlite_database.viewer)
        assert await refusal_status(current, "", f"?ticket={last['ticket']}", Origin=ORIGIN) == 401


async def test_platform_key_sees_all_tenants_or_the_named_one(sqlite_database):
    async with (
        running_member(sqlite_database.url) as current,
        open_monitor(current, sqlite_database.platform) as all_items,
        open_monitor(current, sqlite_database.platform, Vocelio_Tenant="canary") as item,
    ):
        ours, theirs = ScriptedCall(current, 1).start(), ScriptedCall(current, 2, "canary").start()
        await all_items.wait_until(lambda body: len(body.events) == 2)
        await item.wait_until(lambda body: body.events)
        await all_items.wait_until_consistent(sqlite_database.database, "")
        assert {event["call"] for event in all_items.events} == {ours.id, theirs.id}
        assert {event["call"] for event in item.events} == {theirs.id}
        assert set(item.call_views) == {theirs.id}


async def test_revoked_key_closes_its_own_sockets_only(sqlite_database):
    async with (
        running_member(sqlite_database.url) as current,
        open_monitor(current, sqlite_database.viewer) as gone,
        open_monitor(current, sqlite_database.operator) as stays,
    ):
        await revoke_key(sqlite_database.database, "harbour", sqlite_database.viewer)
        await gone.wait_until(lambda body: body.close_code, 3)
        assert gone.close_code == CloseCode.KEY_REVOKED
        ScriptedCall(current).start()
        await stays.wait_until(lambda body: body.events)


async def test_monitor_without_heartbeats_is_disconnected(sqlite_database):
    pace = HeartbeatSettings(interval_seconds=0.1, idle_timeout_seconds=0.5)
    async with (
        running_member(sqlite_database.url, heartbeat=pace) as current,
        open_monitor(current, sqlite_database.viewer) as silent,
    ):
        silent.answers_heartbeats = False
        async with open_monitor(current, sqlite_database.operator) as alive:
            await silent.wait_until(lambda body: body.close_code)
            assert silent.close_code == CloseCode.IDLE_TIMEOUT
            assert alive.close_code is None


async def test_stalled_process_does_not_disconnect_monitors(sqlite_database):
    async with (
        running_member(
            sqlite_database.url, heartbeat=HeartbeatSettings(interval_seconds=0.1, idle_timeout_seconds=0.5)
        ) as current,
        open_monitor(current, sqlite_database.viewer) as alive,
    ):
        for _ in range(3):
            time.sleep(1)  # noqa: ASYNC251 (that is the trouble)
            await asyncio.sleep(0.3)
        assert alive.close_code is None


async def test_non_reading_monitor_is_disconnected_and_takes_less_than_a_megabyte(sqlite_database):
    async with (
        running_member(sqlite_database.url, heartbeat=HeartbeatSettings(send_timeout_seconds=1.0)) as current,
        open_monitor(current, sqlite_database.operator) as fast,
    ):
        stuck = await _open_stuck_monitor(current, sqlite_database.viewer)
        call = ScriptedCall(current).start()
        (hub,) = current.monitors._feeds.values()
        largest = 0
        for _ in range(60):
            for _ in range(50):
                current.calls.publisher.publish_transient(call.record.stored, "transcript.partial", text="x" * 2_000)
            await asyncio.sleep(0.02)
            largest = max([largest, *(outbox.queued_bytes for outbox in hub.queues)])
        assert largest <= MAX_QUEUED_BYTES
        async with asyncio.timeout(5):
            while len(hub.queues) > 1:  # noqa: ASYNC110 (the other side of a socket)
                await asyncio.sleep(0.05)
        stuck.close()
        call.end()
        await fast.wait_until(lambda body: body.call_views[call.id].get("status") == "ended")
        assert fast.close_code is None


async def _open_stuck_monitor(current, key):
    """Open a feed that is never read."""
    return await open_non_reading_socket(current.origin, "/v1/events", Authorization=f"Bearer {key}")


async def test_disconnected_monitor_releases_its_connection(sqlite_database):
    async with running_member(
        sqlite_database.url, heartbeat=HeartbeatSettings(send_timeout_seconds=0.5), guard={"max_per_key": 2}
    ) as current:
        call, before = ScriptedCall(current).start(), []
        for _ in range(2):
            now = [await _open_stuck_monitor(current, sqlite_database.viewer) for _ in range(2)]
            assert await refusal_status(current, sqlite_database.viewer) == 429
            async with asyncio.timeout(10):
                while current.monitors.key_watcher._close_callbacks:
                    current.calls.publisher.publish_transient(
                        call.record.stored, "transcript.partial", text="x" * 2_000
                    )
                    await asyncio.sleep(0)
            await asyncio.gather(*(wait_until_reset(line, 0.5) for line in now))
            before += now
        for line in before:
            line.close()


async def test_less_than_a_megabyte_is_buffered_for_a_non_reading_monitor(sqlite_database):
    """Counted are the send queue, the server's buffer and the kernel's."""
    async with running_member(sqlite_database.url) as current, open_monitor(current, sqlite_database.operator):
        call = ScriptedCall(current).start()
        stuck = await _open_stuck_monitor(current, sqlite_database.viewer)
        (hub,) = current.monitors._feeds.values()
        for _ in range(100):
            for _ in range(5):
                current.calls.publisher.publish_transient(call.record.stored, "transcript.partial", text="x" * 1_900)
            await asyncio.sleep(0.01)
        assert [outbox.blocked_since is not None for outbox in hub.queues].count(True) == 1
        stuck.close()


async def test_flood_of_events_causes_a_gap_and_a_consistent_snapshot(sqlite_database):
    async with running_member(sqlite_database.url) as current, open_monitor(current, sqlite_database.viewer) as body:
        call = ScriptedCall(current).start()
        for _ in range(5_000):
            current.calls.publisher.publish_transient(call.record.stored, "transcript.partial", text="x" * 500)
        call.enter_node("bye")
        await body.wait_until(lambda body: body.gaps)
        await body.wait_until_consistent(sqlite_database.database)


async def start_greeted_call(current, body):
    """Start a call and wait until the monitor agrees with the database."""
    call = ScriptedCall(current).start()
    call.enter_node("greet")
    await body.wait_until_consistent(current.database)
    return call


async def test_lost_events_are_repaired_from_the_database(sqlite_database):
    """As when a process is killed: the database has events that were never published."""
    async with running_member(sqlite_database.url) as current, open_monitor(current, sqlite_database.viewer) as body:
        call = await start_greeted_call(current, body)
        call_store, record = current.calls.services.call_store, call.record
        record.stored.last_event_seq += 1
        silent = {
            "tenant": "harbour",
            "call": call.id,
            "generation": 1,
            "sequence": record.stored.last_event_seq,
            "occurred_at": wall_clock(),
        }
        call_store.append_event(Event(type="node.entered", data={"node": "bye"}, **silent), "front-desk")
        call._save()
        await body.wait_until(lambda body: body.call_views[call.id]["node"] == "bye", 3)
        record.stored.outcome, record.stored.ended_at = "lost", wall_clock()
        call._save()
        await body.wait_until(lambda body: body.call_views[call.id]["outcome"] == "lost", 3)
        await body.wait_until_consistent(sqlite_database.database)


async def test_events_missing_in_the_database_are_revoked(sqlite_database):
    """As when a process is killed before it could write: the database is the authority."""
    async with running_member(sqlite_database.url) as current, open_monitor(current, sqlite_database.viewer) as body:
        call = await start_greeted_call(current, body)
        lost = {
            "tenant": "harbour",
            "call": call.id,
            "generation": 1,
            "sequence": call.record.stored.last_event_seq + 1,
        }
        current.calls.services.bus.publish(
            Event(type="node.entered", occurred_at=wall_clock(), data={"node": "bye"}, **lost)
        )
        await body.wait_until(lambda body: body.call_views[call.id]["node"] == "bye")
        assert await body.wait_until_consistent(sqlite_database.database) < 4


async def test_end_of_an_unresumable_call_reaches_monitors(sqlite_database):
    async with running_member(sqlite_database.url) as current, open_monitor(current, sqlite_database.viewer) as body:
        call = await start_greeted_call(current, body)
        kept = await current.calls.repository.find(call.id, ACCOUNT)
        await current.calls.lifecycle.end_if_expired(msgspec.structs.replace(kept, resume_state=None, due_at=0))
        await body.wait_until(lambda body: body.call_views[call.id]["status"] == "ended", 3)
        ended = body.events[-1]["data"]
        assert (ended["outcome"], ended["tier"]) == ("failed", "local")
        assert ended["cost_micro_usd"] == body.call_views[call.id]["cost_micro_usd"]
        await body.wait_until_consistent(sqlite_database.database)


async def test_event_that_cannot_be_applied_is_repaired_from_the_database(sqlite_database):
    """As an event of another release may be."""
    async with running_member(sqlite_database.url) as current, open_monitor(current, sqlite_database.viewer) as body:
        call = await start_greeted_call(current, body)
        current.calls.publisher.publish(
            call.record.stored, "call.ended", outcome="completed", department="", disposition=""
        )
        call.end()
        await body.wait_until(lambda body: body.call_views[call.id]["status"] == "ended", 3)
        await body.wait_until_consistent(sqlite_database.database)


async def test_snapshot_contains_recently_ended_calls(sqlite_database):
    async with running_member(sqlite_database.url) as current:
        call = ScriptedCall(current).start()
        call.enter_node("greet")
        call.end("transferred")
        async with asyncio.timeout(5):
            while (await stored_calls(sqlite_database.database, "harbour")).get(call.id, {}).get("status") != "ended":  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        async with open_monitor(current, sqlite_database.viewer) as body:
            assert body.call_views[call.id]["outcome"] == "transferred"
            assert not body.events


async def test_large_snapshot_is_sent_in_parts(sqlite_database):
    async with running_member(sqlite_database.url) as current:
        for place in range(1, 252):
            ScriptedCall(current, place).start()
        async with open_monitor(current, sqlite_database.viewer) as body:
            await body.wait_until(lambda body: len(body.call_views) == 251)
            await body.wait_until_consistent(sqlite_database.database)
        async with open_monitor(current, sqlite_database.viewer) as again:
            parts = [message for message in again.messages if message["message"] == "snapshot"]
            assert [(len(part["calls"]), part["first"], part["last"]) for part in parts] == [
                (100, True, False),
                (100, False, False),
                (51, False, True),
            ]


async def test_feed_is_closed_after_its_last_monitor(sqlite_database):
    async with running_member(sqlite_database.url) as current:
        async with open_monitor(current, sqlite_database.viewer), open_monitor(current, sqlite_database.operator):
            assert len(current.monitors._feeds) == 1
        async with asyncio.timeout(5):
            while current.monitors._feeds:  # noqa: ASYNC110 (the other side of a socket)
                await asyncio.sleep(0.02)
        assert current.calls.services.bus._subscribers == {}


async def test_live_counts_are_those_of_the_tenant(sqlite_database):
    async with running_member(sqlite_database.url) as current:
        for place, parts in enumerate(({}, {"flow": "night"}, {"tenant": "canary"}), 1):
            ScriptedCall(current, place, **parts).start()
        await asyncio.sleep(0.3)
        _, ours = await current.request("GET", "/v1/live", sqlite_database.viewer)
        assert (ours["calls"], ours["flows"]) == (
            2,
            [{"name": "front-desk", "calls": 1}, {"name": "night", "calls": 1}],
        )
        assert ours["numbers"] == [{"name": "+13072249663", "calls": 2}]
        assert len(ours["processes"]) == 1
        _, all_items = await current.request("GET", "/v1/live", sqlite_database.platform)
        assert {item["name"]: item["calls"] for item in all_items["tenants"]} == {"harbour": 2, "canary": 1}
        assert "canary" not in json.dumps(ours)


async def test_rejection_is_a_problem_details_response(sqlite_database):
    async with running_member(sqlite_database.url) as current, ClientSession() as session:
        headers = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
            "X-Request-Id": "one",
        }
        async with session.get(f"{current.origin}/v1/events", headers=headers) as answer:
            problem = await answer.json(content_type="application/problem+json")
            assert (answer.status, problem["status"], answer.headers["X-Request-Id"]) == (401, 401, "one")
