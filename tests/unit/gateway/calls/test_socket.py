"""The socket before and around the call: who is let in, and what a bad peer gets."""

import asyncio

import pytest

from tests.unit.gateway.calls.peer import ACCOUNT, Peer, World
from tests.virtual_time import in_virtual_time

FLOW = {"name": "Echo", "start": "echo", "nodes": {"echo": {"type": "echo", "seconds": 60}}}


@in_virtual_time
async def test_a_good_token_starts_the_call():
    world = World(FLOW)
    peer = Peer(world, world.token())
    await peer.admitted()
    assert len(world.of("call.started")) == 1
    assert list(world.calls.live) == [world.record.call]
    await peer.gone()
    await asyncio.sleep(6)


@pytest.mark.parametrize("token", ["", "wrong", "x" * 400])
@in_virtual_time
async def test_a_wrong_token(token):
    world = World(FLOW)
    peer = Peer(world, token)
    await peer.admitted()
    assert peer.code == 1008
    assert world.events == []
    await peer.gone()


@in_virtual_time
async def test_a_token_is_good_once():
    world = World(FLOW)
    token = world.token()
    first = Peer(world, token)
    second = Peer(world, token)
    await asyncio.sleep(0.1)
    assert (first.code, second.code) == (None, 1008)
    assert world.record.generation == 1
    await first.gone()
    await second.gone()
    await asyncio.sleep(6)


@in_virtual_time
async def test_a_token_is_good_for_a_minute():
    world = World(FLOW)
    token = world.token()
    await asyncio.sleep(60.1)
    peer = Peer(world, token)
    await peer.admitted()
    assert peer.code == 1008
    await peer.gone()


@in_virtual_time
async def test_a_token_is_good_for_its_call_and_account_only():
    world = World(FLOW)
    for other in ({"call": "CA" + "9" * 32}, {"account": "AC" + "9" * 32}):
        peer = Peer(world, world.token(), **other)
        await peer.admitted()
        assert peer.code == 1008
        await peer.gone()
    assert world.events == []


@in_virtual_time
async def test_nothing_comes():
    world = World(FLOW)
    peer = Peer(world)
    await asyncio.sleep(9.9)
    assert peer.code is None
    await asyncio.sleep(0.2)
    assert peer.code == 1008
    await peer.gone()


@in_virtual_time
async def test_anything_but_a_start_comes():
    world = World(FLOW)
    peer = Peer(world)
    for _ in range(30):
        peer.say({"event": "hello"})
    assert peer.code == 1008
    await peer.gone()


@in_virtual_time
async def test_a_line_that_falls_silent_is_half_open():
    world = World(FLOW)
    peer = Peer(world, world.token())
    await peer.run(15)
    assert peer.code is None
    await asyncio.sleep(25)
    assert peer.code == 1008
    await peer.gone()
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
    world = World(FLOW)
    peer = Peer(world, world.token())
    await peer.run(1)
    peer.socket.received(text)
    assert peer.code == code
    peer.socket.received(text)
    await peer.gone()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await asyncio.sleep(6)
    assert world.of("call.ended")[0]["outcome"] == "lost"
    assert world.record.account == ACCOUNT
