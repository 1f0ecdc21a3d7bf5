"""What is recorded of a call, on a virtual clock: messages, both sides, and what must not be in it."""

import asyncio
import base64
import random

import msgspec
import pytest

from tests.support.twilio_peer import TENANT, CallEnv, TwilioPeer
from tests.support.virtual_time import in_virtual_time
from vocelio.codecs.telephony import BEEP
from vocelio.gateway.simulator.caller.babble import unintelligible_speech
from vocelio.gateway.store.in_memory import InMemoryCallStore

SPEECH = unintelligible_speech(4.0, random.Random(2))  # noqa: S311 (a sound, no secret)
SILENCE = b"\xff"
RECORDED_TENANT = msgspec.structs.replace(TENANT, record_calls=True)
VOICEMAIL_FLOW = {
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
PROMPT_SECONDS = len("After the beep.") * 0.06  # seconds, as the tone speaks
TALK_FLOW = {
    "name": "Talk",
    "start": "say",
    "nodes": {
        "say": {"type": "say", "text": "Please listen to all of this.", "exits": {"next": "wait"}},
        "wait": {"type": "wait", "seconds": 30, "exits": {"next": "bye"}},
        "bye": {"type": "hangup"},
    },
}
PIN_FLOW = {
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


def start_call(env):
    return TwilioPeer(env, env.stream_token())


def sent_audio(peer):
    return b"".join(
        base64.b64decode(item["media"]["payload"]) for item in peer.sent_messages if item["event"] == "media"
    )


def spoken_texts(env):
    return [event["text"] for event in env.data_of("prompt.started")]


@in_virtual_time
async def test_voicemail_contains_speech_after_the_beep():
    env = CallEnv(VOICEMAIL_FLOW)
    peer = start_call(env)
    await peer.run(PROMPT_SECONDS + len(BEEP) / 8000 + 0.1)
    assert sent_audio(peer).endswith(BEEP)
    await peer.run(8, SPEECH[:24_000])
    ((recording, (message,)),) = await env.wait_for_recordings()
    assert (recording.kind, recording.state, recording.channels) == ("voicemail", "complete", 1)
    assert SPEECH[:24_000] in message
    assert len(message) == pytest.approx(24_000, abs=8000), "little silence is left around it"
    assert recording.duration_seconds == pytest.approx(len(message) / 8000)
    assert spoken_texts(env)[-1] == f"Kept at https://gateway.example/v1/recordings/{recording.id}/audio."
    (begun,), (ended,) = env.data_of("recording.started"), env.data_of("recording.ended")
    assert begun == {"recording": recording.id, "kind": "voicemail"}
    assert ended == {**begun, "duration_seconds": recording.duration_seconds}
    assert list(env.storage.objects) == [recording.object_path], "the pieces are gone"
    assert env.data_of("prompt.started")[0]["text"] == "After the beep."
    assert all("beep" not in event["prompt"] for event in env.data_of("prompt.started"))
    await peer.disconnect()


@in_virtual_time
async def test_silence_leaves_no_voicemail():
    env = CallEnv(VOICEMAIL_FLOW)
    peer = start_call(env)
    await peer.run(10)
    assert spoken_texts(env)[-1] == "Nothing was said."
    assert env.catalog.recordings == env.storage.objects == {}
    assert env.data_of("recording.started") == []
    await peer.disconnect()


@in_virtual_time
async def test_voicemail_ends_at_its_maximum_length():
    env = CallEnv(VOICEMAIL_FLOW)
    peer = start_call(env)
    await peer.run(PROMPT_SECONDS + 0.5)
    await peer.run(12, SPEECH * 3)
    assert spoken_texts(env)[-1].startswith("Kept at")
    ((recording, _),) = await env.wait_for_recordings()
    assert recording.duration_seconds == pytest.approx(8.0, abs=0.05)
    await peer.disconnect()


@in_virtual_time
async def test_key_ends_the_voicemail():
    env = CallEnv(VOICEMAIL_FLOW)
    peer = start_call(env)
    await peer.run(PROMPT_SECONDS + 0.5)
    await peer.run(2, SPEECH)
    peer.press_key("#")
    await peer.run(0.5)
    ((_, (message,)),) = await env.wait_for_recordings()
    assert SPEECH[1600:16_000] in message
    assert spoken_texts(env)[-1].startswith("Kept at")
    await peer.disconnect()


@in_virtual_time
async def test_key_during_the_beep_leaves_no_voicemail():
    env = CallEnv(VOICEMAIL_FLOW)
    peer = start_call(env)
    await peer.run(PROMPT_SECONDS + 0.2)
    peer.press_key("#")
    await peer.run(3)
    assert spoken_texts(env)[-1] == "Nothing was said."
    await peer.disconnect()


@in_virtual_time
async def test_hangup_during_a_voicemail_keeps_it():
    env = CallEnv(VOICEMAIL_FLOW)
    peer = start_call(env)
    await peer.run(PROMPT_SECONDS + 0.5)
    await peer.run(3, SPEECH)
    peer.deliver_numbered("stop", stop={})
    await peer.disconnect()
    ((recording, (message,)),) = await env.wait_for_recordings()
    assert SPEECH[1600:24_000] in message
    assert recording.state == "complete"
    kinds = [event.type for event in env.events]
    assert kinds.index("recording.ended") < kinds.index("call.ended")


@in_virtual_time
async def test_lost_stream_keeps_the_voicemail_and_the_resumed_call_asks_again():
    env = CallEnv(VOICEMAIL_FLOW)
    peer = start_call(env)
    await peer.run(PROMPT_SECONDS + 0.5)
    await peer.run(3, SPEECH)
    await peer.disconnect()
    again = start_call(env)
    await again.run(3)
    await again.run(5, SPEECH[:16_000])
    assert [recording.state for recording, _ in await env.wait_for_recordings()] == ["complete"] * 2
    assert spoken_texts(env)[-1].startswith("Kept at")
    await again.disconnect()


@in_virtual_time
async def test_voicemail_without_beep_starts_at_once():
    node = VOICEMAIL_FLOW["nodes"]["message"] | {"beep": False, "prompt": None}
    env = CallEnv(VOICEMAIL_FLOW | {"nodes": VOICEMAIL_FLOW["nodes"] | {"message": node}})
    peer = start_call(env)
    await peer.run(8, SPEECH[:16_000])
    ((_, (message,)),) = await env.wait_for_recordings()
    assert message.startswith(SPEECH[:16_000])
    await peer.disconnect()


@in_virtual_time
async def test_recording_has_both_sides():
    env = CallEnv(TALK_FLOW, tenant=RECORDED_TENANT)
    peer = start_call(env)
    await peer.run(4, SILENCE * 24_000 + SPEECH[:8000])
    peer.deliver_numbered("stop", stop={})
    await peer.disconnect()
    ((recording, (caller, gateway)),) = await env.wait_for_recordings()
    assert (recording.kind, recording.state) == ("call", "complete")
    assert len(caller) == len(gateway) == pytest.approx(4 * 8000, abs=400)
    assert caller[24_000:32_000] == SPEECH[:8000]
    assert gateway.strip(SILENCE) == sent_audio(peer).strip(SILENCE)
    kinds = [event.type for event in env.events]
    assert kinds.index("call.started") < kinds.index("recording.started")
    assert kinds.index("recording.ended") < kinds.index("call.ended")


@in_virtual_time
async def test_recording_cuts_a_prompt_at_barge_in():
    env = CallEnv(TALK_FLOW, tenant=RECORDED_TENANT)
    peer = start_call(env)
    await peer.run(0.6)
    await peer.run(2, SPEECH[:8000])
    peer.deliver_numbered("stop", stop={})
    await peer.disconnect()
    (interrupted,) = env.data_of("prompt.interrupted")
    ((_, (_, gateway)),) = await env.wait_for_recordings()
    sound = gateway.strip(SILENCE)
    assert len(sent_audio(peer)) > len(sound) + 4000, "more had been sent ahead"
    assert len(sound) / 8000 == pytest.approx(interrupted["played_seconds"], abs=0.03)
    assert sent_audio(peer).lstrip(SILENCE).startswith(sound)


@in_virtual_time
async def test_confidential_answer_and_its_repetition_are_masked():
    env = CallEnv(PIN_FLOW, "four two", tenant=RECORDED_TENANT)
    peer = start_call(env)
    await peer.run(1.5)
    await peer.run(3.5, SPEECH[:8000])
    assert spoken_texts(env)[-1] == "***"
    await peer.run(2)  # the repetition is heard
    await peer.run(1.5, SPEECH[8000:16_000])
    peer.deliver_numbered("stop", stop={})
    await peer.disconnect()
    ((_, (caller, gateway)),) = await env.wait_for_recordings()
    assert caller[: 7 * 8000].strip(SILENCE) == b"", "nothing of the answer"
    assert SPEECH[8000:16_000] in caller, "what follows is there"
    prompt = round(len("Your number?") * 0.06 * 8000)
    assert gateway.strip(SILENCE) == sent_audio(peer)[:prompt].strip(SILENCE), (
        "the question is there, the repetition is not"
    )


@in_virtual_time
async def test_unrecorded_call_has_no_recording():
    env = CallEnv(TALK_FLOW)
    peer = start_call(env)
    await peer.run(2, SPEECH)
    peer.deliver_numbered("stop", stop={})
    await peer.disconnect()
    assert await env.wait_for_recordings() == []
    assert env.catalog.recordings == env.storage.objects == {}


@in_virtual_time
async def test_echo_is_recorded_on_the_gateway_side():
    echo = {"name": "Echo", "start": "echo", "nodes": {"echo": {"type": "echo", "seconds": 1.0}}}
    env = CallEnv(echo, tenant=RECORDED_TENANT)
    peer = start_call(env)
    await peer.run(0.8, SPEECH)
    peer.deliver_numbered("stop", stop={})
    await peer.disconnect()
    ((_, (caller, gateway)),) = await env.wait_for_recordings()
    assert caller[:6400] == SPEECH[:6400]
    assert SPEECH[:6000] in gateway


@in_virtual_time
async def test_each_stream_has_its_own_recording():
    env = CallEnv(TALK_FLOW, tenant=RECORDED_TENANT)
    for _ in range(2):
        peer = start_call(env)
        await peer.run(1, SPEECH)
        await peer.disconnect()
    peer = start_call(env)
    await peer.run(0.3)
    peer.deliver_numbered("stop", stop={})
    await peer.disconnect()
    assert [recording.call for recording, _ in await env.wait_for_recordings()] == [env.call_record.stored.id] * 2


@in_virtual_time
async def test_audio_before_admission_is_recorded():
    class Slow(InMemoryCallStore):
        async def take_over(self, *call):
            await asyncio.sleep(0.4)
            return await super().take_over(*call)

    env = CallEnv(TALK_FLOW, tenant=RECORDED_TENANT, call_store=Slow())
    peer = TwilioPeer(env)
    peer.start(env.stream_token())
    await peer.run(2, SPEECH)
    peer.deliver_numbered("stop", stop={})
    await peer.disconnect()
    ((_, (caller, _)),) = await env.wait_for_recordings()
    assert caller.lstrip(SILENCE).startswith(SPEECH[: 2 * 8000 - 160].lstrip(SILENCE))
