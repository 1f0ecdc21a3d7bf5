"""Operators in one process, calls in another: commands are confirmed, audio is heard, other calls are unaffected."""

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError
from sqlalchemy import event

from tests.support.monitoring_env import ScriptedCall, _actor, running_member, wait_until_subscribed
from tests.support.running_gateway import CALLER, NUMBER
from vocelio.gateway.calls.control.commands import COMMANDS_CHANNEL as OPERATORS
from vocelio.gateway.calls.control.listen_in import REQUESTS_CHANNEL as LISTENERS
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.close_codes import CloseCode
from vocelio.gateway.logs import JsonFormatter
from vocelio.gateway.simulator.caller.script import HangUp, StaySilent
from vocelio.gateway.store import numbers, process_heartbeats
from vocelio.gateway.store.db.schema import audit_log
from vocelio.gateway.store.flows import drafts, promotion
from vocelio.gateway.store.numbers import NewNumber

TALK = {
    "name": "Talk",
    "start": "wait",
    "nodes": {
        "wait": {"type": "wait", "seconds": 1, "exits": {"next": "say"}},
        "say": {"type": "say", "text": "Please stay on the line.", "exits": {"next": "wait"}},
        "bye": {"type": "hangup", "text": "Goodbye."},
    },
}


@pytest.fixture
async def assigned_number(postgres_database):
    """Assign a number to the flow."""
    database = postgres_database.database
    await drafts.put_flow(database, _actor("harbour"), "talk", json.dumps(TALK).encode(), None)
    await promotion.promote_flow(database, _actor("harbour"), "talk", "")
    await numbers.create_number(database, _actor("harbour"), NewNumber(NUMBER))
    await numbers.assign_number(database, _actor("harbour"), NUMBER, "talk")
    return postgres_database


@asynccontextmanager
async def running_call(current, seconds=20):
    """Run a call in that process; gives its SID, and the task that returns its report."""
    call = asyncio.create_task(current.simulator.call(NUMBER, CALLER, [StaySilent(seconds), HangUp()]))
    async with asyncio.timeout(10):
        while not current.calls.registry.live_calls:  # noqa: ASYNC110 (the call comes by a socket)
            await asyncio.sleep(0.02)
    (name,) = current.calls.registry.live_calls
    yield name, call
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


async def audit_targets(database, action):
    """Return the audit targets of an action."""
    async with database.read() as connection:
        return [row.target for row in await connection.execute(audit_log.select().where(audit_log.c.action == action))]


async def test_command_reaches_a_call_of_another_process(assigned_number, redis):
    async with (
        running_member(assigned_number.url, redis.url) as current,
        running_member(assigned_number.url, redis.url) as there,
    ):
        await wait_until_subscribed(redis, OPERATORS, 2)
        async with running_call(current) as (call, report):
            path = f"/v1/calls/{call}"
            assert (await there.request("POST", f"{path}/say", assigned_number.operator, {"text": "One moment."}))[
                0
            ] == 202
            assert (await there.request("POST", f"{path}/jump", assigned_number.operator, {"node": "nowhere"}))[
                0
            ] == 422
            assert (await there.request("POST", f"{path}/say", assigned_number.other, {"text": "Hello."}))[0] == 404
            assert (await there.request("POST", f"{path}/say", assigned_number.viewer, {"text": "Hello."}))[0] == 403
            status, answer = await there.request("POST", f"{path}/jump", assigned_number.operator, {"node": "bye"})
            assert (status, answer) == (202, {"status": "accepted", "node": "bye"})
            status, problem = await there.request(
                "POST", f"{path}/say", assigned_number.operator, {"text": "Too late."}
            )
            assert (status, problem["title"]) == (409, "Conflict")
            done = await report
            assert done.errors == ()
        assert await audit_targets(assigned_number.database, "call.command") == [call, call]
        _, result = await there.request("GET", path, assigned_number.viewer)
        commands = [event["data"]["command"] for event in result["events"] if event["type"] == "operator.command"]
        assert commands == ["say", "jump"]
        assert (await there.request("POST", f"{path}/hangup", assigned_number.operator))[0] == 409


async def test_command_without_an_answer_in_time_is_a_conflict(assigned_number, redis):
    async with (
        running_member(assigned_number.url, redis.url) as current,
        running_member(assigned_number.url, redis.url) as there,
    ):
        await wait_until_subscribed(redis, OPERATORS, 2)
        async with running_call(current) as (call, _):
            redis.pause()
            began = asyncio.get_running_loop().time()
            assert (await there.request("POST", f"/v1/calls/{call}/hangup", assigned_number.operator))[0] == 409
            assert asyncio.get_running_loop().time() - began < 2.5
            assert (await current.request("POST", f"/v1/calls/{call}/hangup", assigned_number.operator))[0] == 202, (
                "its own, without Redis"
            )
            redis.resume()
        assert await audit_targets(assigned_number.database, "call.command") == [call]


async def test_live_counts_name_every_process(assigned_number, redis):
    async with (
        running_member(assigned_number.url, redis.url) as current,
        running_member(assigned_number.url, redis.url) as there,
        running_call(current),
    ):
        await wait_until_subscribed(redis, OPERATORS, 2)
        while len((await there.request("GET", "/v1/processes", assigned_number.platform))[1]["items"]) < 2:  # noqa: ASYNC110 (each says that it is there)
            await asyncio.sleep(0.1)
        _, result = await there.request("GET", "/v1/live", assigned_number.viewer)
        assert sorted(item["calls"] for item in result["processes"]) == [0, 1]
        assert {item["name"] for item in result["processes"]} == {item.calls.process_id for item in (current, there)}


async def test_waiting_for_other_processes_does_not_block_other_requests(postgres_database, redis):
    """A process was just killed and calls are between two streams: requests about them are not answered."""
    async with running_member(postgres_database.url, redis.url) as current:
        while not (known := await process_heartbeats.list_processes(postgres_database.database, wall_clock())):  # noqa: ASYNC110 (it says that it is there)
            await asyncio.sleep(0.05)
        await process_heartbeats.upsert_process(
            postgres_database.database, msgspec.structs.replace(known[0], id="killed")
        )
        calls = [ScriptedCall(current, place).start() for place in range(1, 17)]
        while (await current.request("GET", f"/v1/calls/{calls[-1].id}", postgres_database.viewer))[0] == 404:  # noqa: ASYNC110 (the journal writes)
            await asyncio.sleep(0.05)
        totals = [asyncio.create_task(current.request("GET", "/v1/live", postgres_database.viewer)) for _ in range(24)]
        commands = [
            asyncio.create_task(current.request("POST", f"/v1/calls/{call.id}/hangup", postgres_database.operator))
            for call in calls
        ]
        await asyncio.sleep(0.3)
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert (await current.request("GET", "/v1/me", postgres_database.other))[0] == 200
        assert loop.time() - began < 2.5, "eight at a time it would be five"
        for status, result in await asyncio.gather(*totals):
            assert (status, result["calls"]) == (200, 16)
            assert [item["name"] for item in result["processes"]] == [current.calls.process_id]
        assert {status for status, _ in await asyncio.gather(*commands)} == {409}
        assert loop.time() - began < 4.0
    assert await audit_targets(postgres_database.database, "call.command") == []


@asynccontextmanager
async def open_listener(there, call, key):
    """Open a listen-in socket."""
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        ClientSession() as session,
        session.ws_connect(f"{there.origin}/v1/calls/{call}/audio", headers=headers) as socket,
    ):
        yield socket


async def test_listen_in_works_from_either_process(assigned_number, redis):
    async with (
        running_member(assigned_number.url, redis.url) as current,
        running_member(assigned_number.url, redis.url) as there,
    ):
        await wait_until_subscribed(redis, LISTENERS, 2)
        async with running_call(current, 6) as (call, report):
            async with (
                open_listener(there, call, assigned_number.operator) as far,
                open_listener(current, call, assigned_number.operator) as near,
            ):
                heard = await asyncio.gather(_receive_audio(far), _receive_audio(near))
            assert (await report).errors == ()
        for first, sound, code in heard:
            assert first == {
                "message": "format",
                "encoding": "audio/x-mulaw",
                "sample_rate": 8000,
                "channels": ["caller", "gateway"],
            }
            caller, gateway = sound[0::2], sound[1::2]
            assert len(caller) == len(gateway) > 8_000 * 3
            assert len(set(gateway)) > 10, "the prompts"
            assert set(caller) <= {0xFF}, "a caller who stays silent"
            assert code == CloseCode.CALL_ENDED
        assert await audit_targets(assigned_number.database, "call.listened_in") == [call, call]
        assert current.calls.listen_in_relay._taps == {}
        assert redis.command("PUBSUB", "CHANNELS", "vocelio:audio*") == b"*0\r\n"


async def _receive_audio(socket):
    first, sound = None, b""
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            first = first or json.loads(message.data)
        elif message.type is WSMsgType.BINARY:
            sound += message.data
    return first, sound, socket.close_code


async def test_audio_is_sent_only_while_an_operator_listens(assigned_number, redis):
    async with (
        running_member(assigned_number.url, redis.url) as current,
        running_member(assigned_number.url, redis.url) as there,
    ):
        await wait_until_subscribed(redis, LISTENERS, 2)
        async with running_call(current) as (call, _):
            assert not current.calls.registry.live_calls[call]._media.recorder.is_active
            async with open_listener(there, call, assigned_number.operator) as socket:
                while (await socket.receive()).type is not WSMsgType.BINARY:
                    pass
                assert current.calls.registry.live_calls[call]._media.recorder.is_active
            async with asyncio.timeout(10):
                while current.calls.registry.live_calls[call]._media.recorder.is_active:  # noqa: ASYNC110 (it notices by a lease)
                    await asyncio.sleep(0.1)


async def test_unauthorized_listen_in_is_rejected(assigned_number, redis):
    async with running_member(assigned_number.url, redis.url) as current:
        async with running_call(current) as (call, _):
            for key, status in (
                (assigned_number.viewer, 403),
                (assigned_number.other, 404),
                (assigned_number.platform, 400),
            ):
                with pytest.raises(WSServerHandshakeError) as caught:
                    async with open_listener(current, call, key):
                        pass
                assert caught.value.status == status
        ended = ScriptedCall(current, 7).start()
        ended.end()
        await asyncio.sleep(0.3)
        with pytest.raises(WSServerHandshakeError) as caught:
            async with open_listener(current, ended.id, assigned_number.operator):
                pass
        assert caught.value.status == 409
        assert await audit_targets(assigned_number.database, "call.listened_in") == []


async def test_log_lines_of_a_socket_name_request_tenant_and_call(sqlite_database, caplog):
    caplog.handler.setFormatter(JsonFormatter())
    caplog.set_level("INFO")
    async with running_member(sqlite_database.url) as current:
        headers = {"Authorization": f"Bearer {sqlite_database.operator}", "X-Request-Id": "one"}
        async with ClientSession() as session:
            with pytest.raises(WSServerHandshakeError):
                await session.ws_connect(f"{current.origin}/v1/calls/CA1/audio", headers=headers)
    (refusal,) = [
        line for line in map(json.loads, caplog.text.splitlines()) if line["logger"].endswith("websockets.endpoints")
    ]
    assert (refusal["request_id"], refusal["tenant"], refusal["call"]) == ("one", "harbour", "CA1")


async def test_many_listeners_share_one_database_poll(sqlite_database):
    asked = []
    async with running_member(sqlite_database.url) as current, AsyncExitStack() as stack:
        call = ScriptedCall(current).start()
        while (await current.request("GET", f"/v1/calls/{call.id}", sqlite_database.operator))[0] == 404:  # noqa: ASYNC110 (the journal writes)
            await asyncio.sleep(0.05)
        sockets = [
            await stack.enter_async_context(open_listener(current, call.id, sqlite_database.operator))
            for _ in range(20)
        ]
        engine = current.database._engine.sync_engine
        event.listen(engine, "before_cursor_execute", lambda *facts: asked.append(facts[2]))
        await asyncio.sleep(1.5)
        assert 1 <= sum("FROM calls" in statement for statement in asked) <= 2
        call.end()
        heard = await asyncio.gather(*map(_receive_audio, sockets))
    assert {code for _, _, code in heard} == {CloseCode.CALL_ENDED}
