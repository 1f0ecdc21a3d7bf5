"""The socket before and around the call: who is let in, and what a bad peer gets."""

import asyncio

import pytest

from tests.support.twilio_peer import ACCOUNT, CallEnv, TwilioPeer
from tests.support.virtual_time import in_virtual_time

FLOW = {"name": "Echo", "start": "echo", "nodes": {"echo": {"type": "echo", "seconds": 60}}}


@in_virtual_time
async def test_a_good_token_starts_the_call():
    world = CallEnv(FLOW)
    peer = TwilioPeer(world, world.stream_token())
    await peer.wait_admission()
    assert len(world.data_of("call.started")) == 1
    assert list(world.registry.live_calls) == [world.call_record.stored.id]
    await peer.disconnect()
    await asyncio.sleep(6)


@pytest.mark.parametrize("token", ["", "wrong", "x" * 400])
@in_virtual_time
async def test_a_wrong_token(token):
    world = CallEnv(FLOW)
    peer = TwilioPeer(world, token)
    await peer.wait_admission()
    assert peer.close_code == 1008
    assert world.events == []
    await peer.disconnect()


@in_virtual_time
async def test_a_token_is_good_once():
    world = CallEnv(FLOW)
    token = world.stream_token()
    first = TwilioPeer(world, token)
    second = TwilioPeer(world, token)
    await asyncio.sleep(0.1)
    assert (first.close_code, second.close_code) == (None, 1008)
    assert world.call_record.stored.generation == 1
    await first.disconnect()
    await second.disconnect()
    await asyncio.sleep(6)


@in_virtual_time
async def test_a_token_is_good_for_a_minute():
    world = CallEnv(FLOW)
    token = world.stream_token()
    await asyncio.sleep(60.1)
    peer = TwilioPeer(world, token)
    await peer.wait_admission()
    assert peer.close_code == 1008
    await peer.disconnect()


@in_virtual_time
async def test_a_token_is_good_for_its_call_and_account_only():
    world = CallEnv(FLOW)
    for other in ({"call": "CA" + "9" * 32}, {"account": "AC" + "9" * 32}):
        peer = TwilioPeer(world, world.stream_token(), **other)
        await peer.wait_admission()
        assert peer.close_code == 1008
        await peer.disconnect()
    assert world.events == []


@in_virtual_time
async def test_nothing_comes():
    world = CallEnv(FLOW)
    peer = TwilioPeer(world)
    await asyncio.sleep(9.9)
    assert peer.close_code is None
    await asyncio.sleep(0.2)
    assert peer.close_code == 1008
    await peer.disconnect()


@in_virtual_time
async def test_anything_but_a_start_comes():
    world = CallEnv(FLOW)
    peer = TwilioPeer(world)
    for _ in range(30):
        peer.deliver({"event": "hello"})
    assert peer.close_code == 1008
    await peer.disconnect()


@in_virtual_time
async def test_a_line_that_falls_silent_is_half_open():
    world = CallEnv(FLOW)
    peer = TwilioPeer(world, world.stream_token())
    await peer.run(15)
    assert peer.close_code is None
    await asyncio.sleep(25)
    assert peer.close_code == 1008
    await peer.disconnect()
    await asyncio.sleep(6)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", 1007),
        ('{"event":"media","sequenceNumber":"9","media":{"payload":"%%%"}}', 1007),
        ('{"event":"media","sequenceNumber":"1","media":{"payload":"////"}}', 1002),
        ('{"event":"connected"}', 1002),
    ],
)
@in_virtual_time
async def test_a_peer_that_breaks_the_protocol_harms_only_itself(text, code):
    world = CallEnv(FLOW)
    peer = TwilioPeer(world, world.stream_token())
    await peer.run(1)
    peer.socket.on_message(text)
    assert peer.close_code == code
    peer.socket.on_message(text)
    await peer.disconnect()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await asyncio.sleep(6)
    assert world.data_of("call.ended")[0]["outcome"] == "lost"
    assert world.call_record.stored.account_sid == ACCOUNT
