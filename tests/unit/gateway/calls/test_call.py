"""A live call on a virtual clock: flows run, nothing is cut off, nothing is left."""

import asyncio
import base64
import random

import pytest

from tests.unit.gateway.calls.peer import Peer, World
from tests.unit.gateway.speech.providers import Hearer
from tests.virtual_time import in_virtual_time
from vocelio.engine.events import TransferEnded
from vocelio.gateway.calls.background.reaper import Watch
from vocelio.gateway.simulator.caller.babble import babble
from vocelio.gateway.speech.fakes import ScriptedRecognition, ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.speech.fallback_recognizer import Ears
from vocelio.gateway.speech.fallback_synthesizer import Voices
from vocelio.gateway.speech.services import Speech

SPEECH = babble(1.0, random.Random(2))  # noqa: S311 (a sound, no secret)
GREETING = "Thank you for calling. How may we help you today?"

ASK = {
    "name": "Ask",
    "start": "greet",
    "nodes": {
        "greet": {"type": "say", "text": GREETING, "exits": {"next": "ask"}},
        "ask": {
            "type": "collect",
            "prompt": "Sales or billing?",
            "expect": "choice",
            "choices": {
                "sales": {"phrases": ["sales"], "key": "1"},
                "billing": {"phrases": ["billing"], "key": "2"},
            },
            "timeout": 3,
            "retries": 1,
            "reprompts": ["Please say sales or billing."],
            "exits": {"sales": "to_sales", "billing": "bye", "no_input": "bye", "no_match": "bye"},
        },
        "to_sales": {"type": "transfer", "department": "sales", "exits": {"busy": "bye"}},
        "bye": {"type": "hangup", "text": "Goodbye and thank you."},
    },
}


def flow(**nodes):
    return {"name": "Test", "start": next(iter(nodes)), "nodes": nodes}


def started(world):
    return Peer(world, world.token())


@in_virtual_time
async def test_greeting_question_answer_transfer():
    world = World(ASK, "sales please")
    peer = started(world)
    await peer.run(6)
    await peer.run(2, SPEECH)
    assert peer.code == 1000
    assert [event["text"] for event in world.of("prompt.started")] == [GREETING, "Sales or billing?"]
    assert [event["text"] for event in world.of("caller.heard")] == ["sales please"]
    assert world.of("transfer.started") == [{"department": "sales", "number": ""}]
    assert world.record.intent.department == "sales"
    assert world.record.ended == 0
    await peer.gone()
    assert world.calls.live == {}


@in_virtual_time
async def test_a_key_instead():
    world = World(ASK)
    peer = started(world)
    await peer.run(6)
    peer.press("1")
    await peer.run(0.1)
    assert peer.code == 1000
    assert world.record.department == "sales"
    await peer.gone()


@in_virtual_time
async def test_the_goodbye_is_heard_to_its_end_before_the_line_is_cut():
    world = World(flow(bye={"type": "hangup", "text": "Goodbye and thank you."}))
    peer = started(world)
    await peer.run(5)
    assert peer.code == 1000
    assert len(world.of("prompt.finished")) == 1
    assert peer.loop.time() >= 22 * 0.06  # so long is the goodbye
    assert (world.record.outcome, world.of("call.ended")[0]["outcome"]) == ("completed", "completed")
    await peer.gone()


@in_virtual_time
async def test_barge_in_clears_at_once_and_the_utterance_is_heard_whole():
    world = World(ASK, "billing")
    peer = started(world)
    await peer.run(1)
    await peer.run(0.2, SPEECH)
    assert [message["event"] for message in peer.sent][-1] == "clear"
    (interrupted,) = world.of("caller.interrupted")
    assert interrupted["heard_seconds"] == pytest.approx(1.1, abs=0.1)
    await peer.run(0.9, SPEECH[1600:])
    assert len(world.of("prompt.started")) == 1, "nobody is talked over"
    await peer.run(1)
    assert world.of("caller.heard")[0]["text"] == "billing"
    assert SPEECH[1600:] in world.recognizer.opened[0].sound
    await peer.run(3)
    assert peer.code == 1000
    await peer.gone()


@in_virtual_time
async def test_silence_is_asked_again_and_then_leaves_by_no_input():
    world = World(ASK)
    peer = started(world)
    await peer.run(20)
    texts = [event["text"] for event in world.of("prompt.started")]
    assert texts == [GREETING, "Sales or billing?", "Please say sales or billing.", "Goodbye and thank you."]
    exits = {event["node"]: event["exit"] for event in world.of("node.left")}
    assert exits["ask"] == "no_input"
    await peer.gone()


@in_virtual_time
async def test_what_is_not_understood_leaves_by_no_match():
    world = World(ASK, "", "cheese")
    peer = started(world)
    await peer.run(6)
    await peer.run(5, SPEECH)
    await peer.run(6, SPEECH)
    exits = {event["node"]: event["exit"] for event in world.of("node.left")}
    assert exits["ask"] == "no_match"
    await peer.gone()


@in_virtual_time
async def test_echo_comes_back_frame_for_frame():
    world = World(flow(echo={"type": "echo", "seconds": 1.0}))
    peer = started(world)
    await peer.run(0.5, SPEECH)
    payloads = [message["media"]["payload"] for message in peer.sent if message["event"] == "media"]
    assert len(payloads) == 25
    assert b"".join(map(base64.b64decode, payloads)) == SPEECH[:4000]
    await peer.run(3)
    assert peer.code == 1000
    await peer.gone()


@in_virtual_time
async def test_marks_that_never_come_hold_nothing_up():
    world = World(ASK)
    peer = started(world)
    peer.returns_marks = False
    await peer.run(40)
    assert peer.code == 1000
    assert world.record.outcome == "completed"
    await peer.gone()


@in_virtual_time
async def test_a_caller_who_hangs_up():
    world = World(ASK)
    peer = started(world)
    await peer.run(1)
    peer.numbered("stop", stop={})
    await peer.gone()
    assert world.of("call.ended")[0]["outcome"] == "abandoned"
    assert world.calls.live == {}


@in_virtual_time
async def test_a_stream_that_breaks_off_is_waited_for_and_then_lost():
    world = World(ASK)
    peer = started(world)
    await peer.run(1)
    await peer.gone()
    assert world.record.ended == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await asyncio.sleep(5.1)
    assert world.of("call.ended")[0]["outcome"] == "lost"


@in_virtual_time
async def test_a_call_goes_on_where_its_stream_broke_off():
    world = World(ASK, "billing")
    peer = started(world)
    await peer.run(5)
    await peer.gone()
    await asyncio.sleep(0.7)
    again = started(world)
    await again.run(4)
    await again.run(2, SPEECH)
    await again.run(3)
    texts = [event["text"] for event in world.of("prompt.started")]
    assert texts[2] == "Sorry, let's go on. Sales or billing?"
    assert world.of("caller.heard")[0]["text"] == "billing"
    assert world.record.generation == 2
    assert len(world.of("call.ended")) == 1
    await again.gone()


@in_virtual_time
async def test_keys_of_an_answer_that_was_lost_are_not_the_next_one():
    digits = {"type": "collect", "prompt": "Your code?", "expect": "digits", "min_digits": 4, "max_digits": 4}
    world = World(
        flow(ask=digits | {"save_as": "code", "exits": {"done": "bye"}}, bye={"type": "hangup", "text": "Bye."})
    )
    peer = started(world)
    await peer.run(3)
    peer.press("1")
    peer.press("2")
    await peer.gone()
    await asyncio.sleep(0.7)
    again = started(world)
    await again.run(0.2)
    again.press("3")
    again.press("4")
    await again.run(5)
    assert len(world.of("key.ignored")) == 2
    for key in "1234":
        again.press(key)
    await again.run(3)
    assert world.of("node.left")[0] == {"node": "ask", "exit": "done"}
    assert world.record.outcome == "completed"
    await again.gone()


@in_virtual_time
async def test_the_newer_stream_owns_the_call():
    world = World(ASK)
    old = started(world)
    await old.run(1)
    new = started(world)
    await new.admitted()
    assert old.code == 1000
    sent = len(old.sent)
    await new.run(1)
    await old.gone()
    assert len(old.sent) == sent
    assert world.record.ended == 0
    assert list(world.calls.live) == [world.record.call]
    await new.gone()
    await asyncio.sleep(6)


@in_virtual_time
async def test_latency_is_from_the_end_of_the_voice_to_the_first_sound():
    world = World(ASK, "cheese")
    peer = started(world)
    await peer.run(6)
    await peer.run(3, SPEECH)
    (latency,) = [event["latency_ms"] for event in world.of("prompt.started") if "latency_ms" in event]
    assert 500 <= latency <= 800  # the silence that ends an utterance, and next to nothing
    await peer.gone()
    await asyncio.sleep(6)


LATER = flow(
    talk={"type": "say", "text": "A", "exits": {"next": "ring"}},
    ring={"type": "transfer", "department": "sales", "exits": {"busy": "ask"}},
    ask=ASK["nodes"]["ask"] | {"exits": {}},
)


async def ended_elsewhere(world, how):
    """What the webhook does when ringing has ended."""
    record = world.record
    record.pending = TransferEnded(record.elapsed(world.calls.services.wall()), record.intent.id, how)
    await world.calls.keep(record)


@in_virtual_time
async def test_after_a_transfer_nothing_of_the_old_stream_counts():
    world = World(LATER | {"max_seconds": 60})
    peer = started(world)
    await peer.run(0.5, SPEECH)  # speaking while the transfer begins
    await peer.gone()
    assert world.record.intent.department == "sales"
    await asyncio.sleep(10)
    await ended_elsewhere(world, "busy")
    again = started(world)
    await again.run(2)
    assert world.of("prompt.started")[-1]["text"] == "Sales or billing?", "nobody is believed to be speaking"
    await again.run(70)
    assert world.record.outcome, "the longest call is still counted"
    await again.gone()


@in_virtual_time
async def test_ringing_is_not_billed():
    world = World(LATER)
    peer = started(world)
    await peer.run(3)
    await peer.gone()
    streamed = world.record.meter.billed
    await asyncio.sleep(30)
    await ended_elsewhere(world, "busy")
    again = started(world)
    await again.run(2)
    again.numbered("stop", stop={})
    assert world.of("call.ended")[0]["seconds"] == pytest.approx(streamed / 1e6 + 2, abs=0.1)
    await again.gone()


@in_virtual_time
async def test_a_newer_stream_goes_on_where_the_older_one_was():
    world = World(ASK, "billing")
    old = started(world)
    await old.run(5)
    new = started(world)
    await new.run(1)
    assert len(world.of("call.started")) == 1
    assert world.of("prompt.started")[-1]["text"].startswith("Sorry, let's go on. Sales or billing?")
    await old.gone()
    await new.gone()
    await asyncio.sleep(6)


@in_virtual_time
async def test_what_cannot_be_done_yet_never_goes_in_circles():
    world = World(
        flow(
            queue={"type": "queue", "department": "sales", "exits": {"failed": "queue"}},
        )
    )
    peer = started(world)
    await peer.run(5)
    assert 3 <= len(world.of("node.entered")) <= 7
    await peer.gone()
    await asyncio.sleep(6)


class Stalling(ToneSynthesizer):
    """Says a little, and then nothing more."""

    async def speak(self, text, voice):
        yield b"\x7e" * 800
        await asyncio.sleep(1_000_000)


class Broken(ToneSynthesizer):
    """Has a defect."""

    async def speak(self, text, voice):
        yield b"\x7e" * 800
        raise ConnectionResetError


@pytest.mark.parametrize("synthesizer", [Stalling(), Broken()])
@in_virtual_time
async def test_a_call_ends_whatever_its_synthesizer_does(synthesizer):
    world = World(flow(bye={"type": "hangup", "text": "Goodbye."}), synthesizer=synthesizer)
    peer = started(world)
    await peer.run(10)
    assert (peer.code, world.record.outcome) == (1000, "completed")
    assert len(world.of("prompt.failed")) == 1
    await peer.gone()


@in_virtual_time
async def test_a_provider_that_heard_too_late_does_not_speak_until_the_caller_has_spoken_again():
    ears = Ears({"elevenlabs": Hearer("...", "billing"), "azure": Hearer("who knows")})
    voices = Voices({"elevenlabs": ToneSynthesizer(), "azure": ToneSynthesizer()})
    world = World({**ASK, "voice": {"tier": "elevenlabs", "name": "rachel"}}, speech=Speech(ears, voices))
    peer = started(world)
    await peer.run(6)
    await peer.run(5, SPEECH)
    await peer.run(5, SPEECH)
    spoken = {name: tally.syntheses for name, tally in world.kept.speech.items()}
    assert [event["text"] for event in world.of("caller.heard")] == ["who knows", "billing"]
    assert spoken == {"elevenlabs": 4, "azure": 1}  # the greeting has two sentences
    await peer.gone()


@in_virtual_time
async def test_a_defect_of_ours_ends_the_stream_and_not_the_call(caplog):
    class Defective(ScriptedRecognition):
        def feed(self, mulaw):
            raise KeyError("a defect")

    class Opening(ScriptedRecognizer):
        def open(self, expectation, heard, failed):
            return Defective(expectation, str, heard)

    world = World(ASK, recognizer=Opening())
    peer = started(world)
    await peer.run(6)
    with pytest.raises(KeyError):
        await peer.run(1, SPEECH)
    await peer.gone()
    assert world.record.checkpoint is not None
    again = started(world)
    await again.run(2)
    again.press("2")
    await again.run(4)
    assert world.record.outcome == "completed"
    await again.gone()


@in_virtual_time
async def test_the_status_of_a_live_call_ends_and_bills_it():
    world = World(ASK)
    peer = started(world)
    await peer.run(5)
    await world.status()
    (ended,) = world.of("call.ended")
    assert (ended["outcome"], peer.code) == ("abandoned", 1000)
    assert ended["seconds"] == pytest.approx(5, abs=0.1)
    count = len(world.events)
    peer.code = None
    peer.numbered("mark", mark={"name": "p2.end"})
    assert len(world.events) == count, "nothing follows the end"
    await peer.gone()


@in_virtual_time
async def test_a_status_before_the_end_of_a_transfer_waits_for_it():
    world = World(LATER)
    peer = started(world)
    await peer.run(3)
    await peer.gone()
    await world.status()
    assert world.record.ended == 0
    await asyncio.sleep(5.1)
    assert world.record.outcome == "abandoned"


@in_virtual_time
async def test_a_stream_that_never_comes_is_not_waited_for_for_ever():
    world = World(ASK)
    watch = Watch(world.calls)
    await watch.start()
    await asyncio.sleep(70)
    assert world.of("call.ended") == []
    await asyncio.sleep(25)
    assert world.of("call.ended")[0]["outcome"] == "abandoned"
    await watch.aclose()


@in_virtual_time
async def test_a_call_that_is_over_cannot_be_revived():
    world = World(ASK)
    token = world.token()
    await world.status()
    await asyncio.sleep(5.1)
    peer = Peer(world, token)
    await peer.admitted()
    assert peer.code == 1008
    assert len(world.of("call.ended")) == 1
    await peer.gone()


@in_virtual_time
async def test_a_stored_sound_is_played_and_one_that_is_not_there_is_passed_over():
    world = World(
        flow(
            jingle={"type": "say", "audio": "jingle", "exits": {"next": "lost"}},
            lost={"type": "say", "audio": "lost", "exits": {"next": "bye"}},
            bye={"type": "hangup"},
        )
    )
    peer = started(world)
    await peer.run(3)
    assert (peer.code, peer.spoken()) == (1000, 1.0)
    assert world.of("prompt.failed") == [{"prompt": "p3", "problem": "there is no sound 'lost'"}]
    await peer.gone()


@in_virtual_time
async def test_what_was_spoken_and_heard_of_a_caller_who_left_is_kept():
    world = World(ASK)
    peer = started(world)
    await peer.run(4)
    await peer.run(0.5, SPEECH)
    peer.numbered("stop", stop={})
    await peer.gone()
    tally = world.kept.speech["local"]
    assert tally.characters > 0
    assert (tally.recognitions, tally.recognised_ms > 100) == (1, True)
