"""What is recorded of a call, on a virtual clock: messages, both sides, and what must not be in it."""

import asyncio
import base64
import random

import msgspec
import pytest

from tests.unit.gateway.calls.peer import TENANT, Peer, World
from tests.virtual_time import in_virtual_time
from vocelio.codecs.tones import BEEP
from vocelio.gateway.simulator.caller.babble import babble
from vocelio.gateway.store.in_memory import MemoryJournal

SPEECH = babble(4.0, random.Random(2))  # noqa: S311 (a sound, no secret)
HUSH = b"\xff"
RECORDED = msgspec.structs.replace(TENANT, record_calls=True)
VOICEMAIL = {
    "name": "Voicemail",
    "start": "message",
    "nodes": {
        "message": {
            "type": "record",
            "prompt": "After the beep.",
            "silence_seconds": 2,
            "max_seconds": 8,
            "save_as": "message",
            "exits": {"done": "thanks", "empty": "nothing"},
        },
        "thanks": {"type": "hangup", "text": "Kept at {{ message }}."},
        "nothing": {"type": "hangup", "text": "Nothing was said."},
    },
}
PROMPT = len("After the beep.") * 0.06  # seconds, as the tone speaks
TALK = {
    "name": "Talk",
    "start": "say",
    "nodes": {
        "say": {"type": "say", "text": "Please listen to all of this.", "exits": {"next": "wait"}},
        "wait": {"type": "wait", "seconds": 30, "exits": {"next": "bye"}},
        "bye": {"type": "hangup"},
    },
}
PIN = {
    "name": "PIN",
    "start": "ask",
    "nodes": {
        "ask": {
            "type": "collect",
            "prompt": "Your number?",
            "expect": "digits",
            "min_digits": 2,
            "max_digits": 2,
            "sensitive": True,
            "save_as": "pin",
            "exits": {"done": "again", "no_input": "bye", "no_match": "bye"},
        },
        "again": {"type": "say", "text": "It was {{ pin }}, was it not?", "exits": {"next": "wait"}},
        "wait": {"type": "wait", "seconds": 5, "exits": {"next": "bye"}},
        "bye": {"type": "hangup"},
    },
}


def started(world):
    return Peer(world, world.token())


def played(peer):
    return b"".join(base64.b64decode(one["media"]["payload"]) for one in peer.sent if one["event"] == "media")


def texts(world):
    return [event["text"] for event in world.of("prompt.started")]


@in_virtual_time
async def test_a_message_is_what_was_said_behind_the_beep():
    world = World(VOICEMAIL)
    peer = started(world)
    await peer.run(PROMPT + len(BEEP) / 8000 + 0.1)
    assert played(peer).endswith(BEEP)
    await peer.run(8, SPEECH[:24_000])
    ((recording, (message,)),) = await world.recorded()
    assert (recording.kind, recording.state, recording.channels) == ("voicemail", "complete", 1)
    assert SPEECH[:24_000] in message
    assert len(message) == pytest.approx(24_000, abs=8000), "little silence is left around it"
    assert recording.seconds == pytest.approx(len(message) / 8000)
    assert texts(world)[-1] == f"Kept at https://gateway.example/v1/recordings/{recording.id}/audio."
    (begun,), (ended,) = world.of("recording.started"), world.of("recording.ended")
    assert begun == {"recording": recording.id, "what": "voicemail"}
    assert ended == {**begun, "seconds": recording.seconds}
    assert list(world.storage.objects) == [recording.object], "the pieces are gone"
    assert world.of("prompt.started")[0]["text"] == "After the beep."
    assert all("beep" not in event["prompt"] for event in world.of("prompt.started"))
    await peer.gone()


@in_virtual_time
async def test_who_says_nothing_leaves_nothing():
    world = World(VOICEMAIL)
    peer = started(world)
    await peer.run(10)
    assert texts(world)[-1] == "Nothing was said."
    assert world.catalogue.recordings == world.storage.objects == {}
    assert world.of("recording.started") == []
    await peer.gone()


@in_virtual_time
async def test_the_longest_message():
    world = World(VOICEMAIL)
    peer = started(world)
    await peer.run(PROMPT + 0.5)
    await peer.run(12, SPEECH * 3)
    assert texts(world)[-1].startswith("Kept at")
    ((recording, _),) = await world.recorded()
    assert recording.seconds == pytest.approx(8.0, abs=0.05)
    await peer.gone()


@in_virtual_time
async def test_a_key_ends_the_message_and_it_is_kept():
    world = World(VOICEMAIL)
    peer = started(world)
    await peer.run(PROMPT + 0.5)
    await peer.run(2, SPEECH)
    peer.press("#")
    await peer.run(0.5)
    ((_, (message,)),) = await world.recorded()
    assert SPEECH[1600:16_000] in message
    assert texts(world)[-1].startswith("Kept at")
    await peer.gone()


@in_virtual_time
async def test_a_key_before_the_beep_has_ended_leaves_nothing():
    world = World(VOICEMAIL)
    peer = started(world)
    await peer.run(PROMPT + 0.2)
    peer.press("#")
    await peer.run(3)
    assert texts(world)[-1] == "Nothing was said."
    await peer.gone()


@in_virtual_time
async def test_who_hangs_up_within_a_message_has_left_it():
    world = World(VOICEMAIL)
    peer = started(world)
    await peer.run(PROMPT + 0.5)
    await peer.run(3, SPEECH)
    peer.numbered("stop", stop={})
    await peer.gone()
    ((recording, (message,)),) = await world.recorded()
    assert SPEECH[1600:24_000] in message
    assert recording.state == "complete"
    kinds = [event.type for event in world.events]
    assert kinds.index("recording.ended") < kinds.index("call.ended")


@in_virtual_time
async def test_a_stream_that_breaks_within_a_message_leaves_it_and_the_caller_is_asked_again():
    world = World(VOICEMAIL)
    peer = started(world)
    await peer.run(PROMPT + 0.5)
    await peer.run(3, SPEECH)
    await peer.gone()
    again = started(world)
    await again.run(3)
    await again.run(5, SPEECH[:16_000])
    assert [recording.state for recording, _ in await world.recorded()] == ["complete"] * 2
    assert texts(world)[-1].startswith("Kept at")
    await again.gone()


@in_virtual_time
async def test_without_a_beep_the_message_begins_at_once():
    node = VOICEMAIL["nodes"]["message"] | {"beep": False, "prompt": None}
    world = World(VOICEMAIL | {"nodes": VOICEMAIL["nodes"] | {"message": node}})
    peer = started(world)
    await peer.run(8, SPEECH[:16_000])
    ((_, (message,)),) = await world.recorded()
    assert message.startswith(SPEECH[:16_000])
    await peer.gone()


@in_virtual_time
async def test_both_sides_of_a_whole_call():
    world = World(TALK, tenant=RECORDED)
    peer = started(world)
    await peer.run(4, HUSH * 24_000 + SPEECH[:8000])
    peer.numbered("stop", stop={})
    await peer.gone()
    ((recording, (caller, gateway)),) = await world.recorded()
    assert (recording.kind, recording.state) == ("call", "complete")
    assert len(caller) == len(gateway) == pytest.approx(4 * 8000, abs=400)
    assert caller[24_000:32_000] == SPEECH[:8000]
    assert gateway.strip(HUSH) == played(peer).strip(HUSH)
    kinds = [event.type for event in world.events]
    assert kinds.index("call.started") < kinds.index("recording.started")
    assert kinds.index("recording.ended") < kinds.index("call.ended")


@in_virtual_time
async def test_a_barge_in_is_cut_where_it_was_cut():
    world = World(TALK, tenant=RECORDED)
    peer = started(world)
    await peer.run(0.6)
    await peer.run(2, SPEECH[:8000])
    peer.numbered("stop", stop={})
    await peer.gone()
    (interrupted,) = world.of("caller.interrupted")
    ((_, (_, gateway)),) = await world.recorded()
    sound = gateway.strip(HUSH)
    assert len(played(peer)) > len(sound) + 4000, "more had been sent ahead"
    assert len(sound) / 8000 == pytest.approx(interrupted["heard_seconds"], abs=0.03)
    assert played(peer).lstrip(HUSH).startswith(sound)


@in_virtual_time
async def test_what_is_said_and_repeated_in_confidence_is_silence():
    world = World(PIN, "four two", tenant=RECORDED)
    peer = started(world)
    await peer.run(1.5)
    await peer.run(3.5, SPEECH[:8000])
    assert texts(world)[-1] == "***"
    await peer.run(2)  # the repetition is heard
    await peer.run(1.5, SPEECH[8000:16_000])
    peer.numbered("stop", stop={})
    await peer.gone()
    ((_, (caller, gateway)),) = await world.recorded()
    assert caller[: 7 * 8000].strip(HUSH) == b"", "nothing of the answer"
    assert SPEECH[8000:16_000] in caller, "what follows is there"
    prompt = round(len("Your number?") * 0.06 * 8000)
    assert gateway.strip(HUSH) == played(peer)[:prompt].strip(HUSH), "the question is there, the repetition is not"


@in_virtual_time
async def test_a_call_that_is_not_recorded_leaves_nothing():
    world = World(TALK)
    peer = started(world)
    await peer.run(2, SPEECH)
    peer.numbered("stop", stop={})
    await peer.gone()
    assert await world.recorded() == []
    assert world.catalogue.recordings == world.storage.objects == {}


@in_virtual_time
async def test_an_echo_is_heard_on_the_gateways_side():
    echo = {"name": "Echo", "start": "echo", "nodes": {"echo": {"type": "echo", "seconds": 1.0}}}
    world = World(echo, tenant=RECORDED)
    peer = started(world)
    await peer.run(0.8, SPEECH)
    peer.numbered("stop", stop={})
    await peer.gone()
    ((_, (caller, gateway)),) = await world.recorded()
    assert caller[:6400] == SPEECH[:6400]
    assert SPEECH[:6000] in gateway


@in_virtual_time
async def test_each_stream_of_a_call_has_its_own_recording():
    world = World(TALK, tenant=RECORDED)
    for _ in range(2):
        peer = started(world)
        await peer.run(1, SPEECH)
        await peer.gone()
    peer = started(world)
    await peer.run(0.3)
    peer.numbered("stop", stop={})
    await peer.gone()
    assert [recording.call for recording, _ in await world.recorded()] == [world.record.call] * 2


@in_virtual_time
async def test_what_was_said_while_the_store_was_slow_to_admit_the_call_is_recorded():
    class Slow(MemoryJournal):
        async def take_over(self, *call):
            await asyncio.sleep(0.4)
            return await super().take_over(*call)

    world = World(TALK, tenant=RECORDED, journal=Slow())
    peer = Peer(world)
    peer.start(world.token())
    await peer.run(2, SPEECH)
    peer.numbered("stop", stop={})
    await peer.gone()
    ((_, (caller, _)),) = await world.recorded()
    assert caller.lstrip(HUSH).startswith(SPEECH[: 2 * 8000 - 160].lstrip(HUSH))
