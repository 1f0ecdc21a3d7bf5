"""Whoever listens in hears both sides, from the middle of a call on, and nothing that is said in confidence."""

import random

import pytest

from tests.unit.gateway.calls.peer import CALL, World
from tests.unit.gateway.calls.test_recorder import HUSH, PIN, RECORDED, SPEECH, TALK, started
from tests.virtual_time import in_virtual_time

TENTH = 1_600  # bytes: both sides of a tenth of a second


def listen_in(world):
    """The pieces that come, and what ends it."""
    pieces = []
    return pieces, world.calls.live[CALL].listen_in(pieces.append)


@in_virtual_time
async def test_both_sides_in_tenths_of_a_second_until_one_has_enough():
    world = World(TALK)
    peer = started(world)
    await peer.run(2)
    pieces, end = listen_in(world)
    await peer.run(2, HUSH * 4_000 + SPEECH[:8_000])
    end()
    count = len(pieces)
    await peer.run(1, SPEECH)
    await peer.gone()
    assert len(pieces) == count == pytest.approx(20, abs=1)
    assert {len(piece) for piece in pieces} == {TENTH}
    sound = b"".join(pieces)
    assert SPEECH[:8_000] in sound[0::2]
    assert await world.recorded() == [], "to listen is not to record"


@in_virtual_time
async def test_the_gateway_is_heard_too():
    world = World(TALK)
    peer = started(world)
    await peer.run(0.1)
    pieces, _ = listen_in(world)
    await peer.run(5)
    await peer.gone()
    assert len(set(b"".join(pieces)[1::2])) > 10


@pytest.mark.parametrize("begins", [1.0, 1.6, 2.0, 2.4, 2.9])
@in_virtual_time
async def test_an_answer_in_confidence_is_silence_whenever_one_begins_to_listen(begins):
    world = World(PIN, "four two")
    peer = started(world)
    await peer.run(1.5)
    sound = HUSH * 4_000 + SPEECH[:8_000]
    before = max(0.0, begins - 1.5)
    await peer.run(before, sound)
    pieces, _ = listen_in(world)
    await peer.run(3.5 - before, sound[round(before * 50) * 160 :])
    await peer.run(2)
    await peer.run(1.5, SPEECH[8_000:16_000])
    await peer.gone()
    both = b"".join(pieces)
    caller, gateway = both[0::2], both[1::2]
    place = caller.index(SPEECH[8_000:16_000])
    assert caller[:place].strip(HUSH) == b"", "nothing of the answer; what follows is there"
    assert gateway.strip(HUSH) == b"", "the repetition is not there either"


@in_virtual_time
async def test_the_recording_of_a_call_is_the_same_with_and_without_a_listener():
    kept = []
    for listens in (False, True):
        world = World(TALK, tenant=RECORDED)
        peer = started(world)
        await peer.run(1)
        if listens:
            listen_in(world)
        await peer.run(3, SPEECH[: 8_000 * random.Random(1).randrange(1, 3)])  # noqa: S311 (a sound, no secret)
        peer.numbered("stop", stop={})
        await peer.gone()
        ((_, sides),) = await world.recorded()
        kept.append(sides)
    assert kept[0] == kept[1]
