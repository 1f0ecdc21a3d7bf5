"""Whoever listens in hears both sides, from the middle of a call on, and nothing that is said in confidence."""

import random

import pytest

from tests.support.twilio_peer import CALL, CallEnv
from tests.support.virtual_time import in_virtual_time
from tests.unit.gateway.calls.media.test_recorder import (
    PIN_FLOW,
    RECORDED_TENANT,
    SILENCE,
    SPEECH,
    TALK_FLOW,
    start_call,
)

TENTH_SECOND_BYTES = 1_600  # bytes: both sides of a tenth of a second


def start_listening(env):
    """The pieces that come, and what ends it."""
    pieces = []
    return pieces, env.registry.live_calls[CALL].listen_in(pieces.append)


@in_virtual_time
async def test_listener_gets_chunks_of_both_sides_until_it_leaves():
    env = CallEnv(TALK_FLOW)
    peer = start_call(env)
    await peer.run(2)
    pieces, end = start_listening(env)
    await peer.run(2, SILENCE * 4_000 + SPEECH[:8_000])
    end()
    count = len(pieces)
    await peer.run(1, SPEECH)
    await peer.disconnect()
    assert len(pieces) == count == pytest.approx(20, abs=1)
    assert {len(piece) for piece in pieces} == {TENTH_SECOND_BYTES}
    sound = b"".join(pieces)
    assert SPEECH[:8_000] in sound[0::2]
    assert await env.wait_for_recordings() == [], "to listen is not to record"


@in_virtual_time
async def test_listener_hears_the_gateway():
    env = CallEnv(TALK_FLOW)
    peer = start_call(env)
    await peer.run(0.1)
    pieces, _ = start_listening(env)
    await peer.run(5)
    await peer.disconnect()
    assert len(set(b"".join(pieces)[1::2])) > 10


@pytest.mark.parametrize("begins", [1.0, 1.6, 2.0, 2.4, 2.9])
@in_virtual_time
async def test_confidential_answer_is_masked_for_listeners(begins):
    env = CallEnv(PIN_FLOW, "four two")
    peer = start_call(env)
    await peer.run(1.5)
    sound = SILENCE * 4_000 + SPEECH[:8_000]
    before = max(0.0, begins - 1.5)
    await peer.run(before, sound)
    pieces, _ = start_listening(env)
    await peer.run(3.5 - before, sound[round(before * 50) * 160 :])
    await peer.run(2)
    await peer.run(1.5, SPEECH[8_000:16_000])
    await peer.disconnect()
    both = b"".join(pieces)
    caller, gateway = both[0::2], both[1::2]
    place = caller.index(SPEECH[8_000:16_000])
    assert caller[:place].strip(SILENCE) == b"", "nothing of the answer; what follows is there"
    assert gateway.strip(SILENCE) == b"", "the repetition is not there either"


@in_virtual_time
async def test_listener_does_not_change_the_recording():
    kept = []
    for listens in (False, True):
        env = CallEnv(TALK_FLOW, tenant=RECORDED_TENANT)
        peer = start_call(env)
        await peer.run(1)
        if listens:
            start_listening(env)
        await peer.run(3, SPEECH[: 8_000 * random.Random(1).randrange(1, 3)])  # noqa: S311 (a sound, no secret)
        peer.deliver_numbered("stop", stop={})
        await peer.disconnect()
        ((_, sides),) = await env.wait_for_recordings()
        kept.append(sides)
    assert kept[0] == kept[1]
