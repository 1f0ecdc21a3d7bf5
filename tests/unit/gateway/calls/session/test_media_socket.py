"""The socket before and around the call: who is let in, and what a bad peer gets."""

import asyncio

import pytest

from tests.support.twilio_peer import ACCOUNT, CallEnv, TwilioPeer
from tests.support.virtual_time import in_virtual_time

FLOW = {"name": "Echo", "start": "echo", "nodes": {"echo": {"type": "echo", "seconds": 60}}}


@in_virtual_time
async def test_valid_token_starts_the_call():
    env = CallEnv(FLOW)
    peer = TwilioPeer(env, env.stream_token())
    await peer.wait_admission()
    assert len(env.data_of("call.started")) == 1
    assert list(env.registry.live_calls) == [env.call_record.stored.id]
    await peer.disconnect()
    await asyncio.sleep(6)


@pytest.mark.parametrize("token", ["", "wrong", "x" * 400])
@in_virtual_time
async def test_invalid_token_closes_the_socket(token):
    env = CallEnv(FLOW)
    peer = TwilioPeer(env, token)
    await peer.wait_admission()
    assert peer.close_code == 1008
    assert env.events == []
    await peer.disconnect()


@in_virtual_time
async def test_token_can_be_used_once():
    env = CallEnv(FLOW)
    token = env.stream_token()
    first = TwilioPeer(env, token)
    second = TwilioPeer(env, token)
    await asyncio.sleep(0.1)
    assert (first.close_code, second.close_code) == (None, 1008)
    assert env.call_record.stored.generation == 1
    await first.disconnect()
    await second.disconnect()
    await asyncio.sleep(6)


@in_virtual_time
async def test_token_expires_after_a_minute():
    env = CallEnv(FLOW)
    token = env.stream_token()
    await asyncio.sleep(60.1)
    peer = TwilioPeer(env, token)
    await peer.wait_admission()
    assert peer.close_code == 1008
    await peer.disconnect()


@in_virtual_time
async def test_token_is_bound_to_call_and_account():
    env = CallEnv(FLOW)
    for other in ({"call": "CA" + "9" * 32}, {"account": "AC" + "9" * 32}):
        peer = TwilioPeer(env, env.stream_token(), **other)
        await peer.wait_admission()
        assert peer.close_code == 1008
        await peer.disconnect()
    assert env.events == []


@in_virtual_time
async def test_socket_without_a_start_is_closed():
    env = CallEnv(FLOW)
    peer = TwilioPeer(env)
    await asyncio.sleep(9.9)
    assert peer.close_code is None
    await asyncio.sleep(0.2)
    assert peer.close_code == 1008
    await peer.disconnect()


@in_virtual_time
async def test_other_messages_before_start_close_the_socket():
    env = CallEnv(FLOW)
    peer = TwilioPeer(env)
    for _ in range(30):
        peer.deliver({"event": "hello"})
    assert peer.close_code == 1008
    await peer.disconnect()


@in_virtual_time
async def test_socket_without_audio_is_closed():
    env = CallEnv(FLOW)
    peer = TwilioPeer(env, env.stream_token())
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
async def test_protocol_error_closes_only_its_socket(text, code):
    env = CallEnv(FLOW)
    peer = TwilioPeer(env, env.stream_token())
    await peer.run(1)
    peer.socket.on_message(text)
    assert peer.close_code == code
    peer.socket.on_message(text)
    await peer.disconnect()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await asyncio.sleep(6)
    assert env.data_of("call.ended")[0]["outcome"] == "lost"
    assert env.call_record.stored.account_sid == ACCOUNT
