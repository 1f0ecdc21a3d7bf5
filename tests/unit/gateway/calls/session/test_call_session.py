"""Call sessions on a virtual clock: flows run to their end and leave no tasks behind."""

import asyncio
import base64
import random

import pytest

from tests.support.fake_providers import FaultyRecognizer
from tests.support.twilio_peer import CallEnv, TwilioPeer
from tests.support.virtual_time import in_virtual_time
from vocelio.engine.events import TransferEnded
from vocelio.gateway.simulator.caller.babble import unintelligible_speech
from vocelio.gateway.speech.fakes import ScriptedRecognition, ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.speech.fallback_recognizer import FallbackRecognizer
from vocelio.gateway.speech.fallback_synthesizer import FallbackSynthesizer
from vocelio.gateway.speech.providers import SpeechServices

SPEECH = unintelligible_speech(1.0, random.Random(2))  # noqa: S311 (a sound, no secret)
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


def make_flow(**nodes):
    return {"name": "Test", "start": next(iter(nodes)), "nodes": nodes}


def start_call(env):
    return TwilioPeer(env, env.stream_token())


@in_virtual_time
async def test_spoken_answer_leads_to_the_transfer():
    env = CallEnv(ASK, "sales please")
    peer = start_call(env)
    await peer.run(6)
    await peer.run(2, SPEECH)
    assert peer.close_code == 1000
    assert [event["text"] for event in env.data_of("prompt.started")] == [GREETING, "Sales or billing?"]
    assert [event["text"] for event in env.data_of("transcript.final")] == ["sales please"]
    assert env.data_of("transfer.started") == [{"department": "sales", "number": ""}]
    assert env.call_record.resume.phase.transfer.department == "sales"
    assert env.call_record.stored.ended_at == 0
    await peer.disconnect()
    assert env.registry.live_calls == {}


@in_virtual_time
async def test_key_answers_the_question():
    env = CallEnv(ASK)
    peer = start_call(env)
    await peer.run(6)
    peer.press_key("1")
    await peer.run(0.1)
    assert peer.close_code == 1000
    assert env.call_record.stored.department == "sales"
    await peer.disconnect()


@in_virtual_time
async def test_goodbye_is_played_to_its_end_before_the_hangup():
    env = CallEnv(make_flow(bye={"type": "hangup", "text": "Goodbye and thank you."}))
    peer = start_call(env)
    await peer.run(5)
    assert peer.close_code == 1000
    assert len(env.data_of("prompt.finished")) == 1
    assert peer.loop.time() >= 22 * 0.06  # so long is the goodbye
    assert (env.call_record.stored.outcome, env.data_of("call.ended")[0]["outcome"]) == ("completed", "completed")
    await peer.disconnect()


@in_virtual_time
async def test_barge_in_clears_playback_and_keeps_the_whole_utterance():
    env = CallEnv(ASK, "billing")
    peer = start_call(env)
    await peer.run(1)
    await peer.run(0.2, SPEECH)
    assert [message["event"] for message in peer.sent_messages][-1] == "clear"
    (interrupted,) = env.data_of("prompt.interrupted")
    assert interrupted["played_seconds"] == pytest.approx(1.1, abs=0.1)
    await peer.run(0.9, SPEECH[1600:])
    assert len(env.data_of("prompt.started")) == 1, "nobody is talked over"
    await peer.run(1)
    assert env.data_of("transcript.final")[0]["text"] == "billing"
    assert SPEECH[1600:] in env.recognizer.recognitions[0].audio
    await peer.run(3)
    assert peer.close_code == 1000
    await peer.disconnect()


@in_virtual_time
async def test_silence_is_reprompted_then_exits_no_input():
    env = CallEnv(ASK)
    peer = start_call(env)
    await peer.run(20)
    texts = [event["text"] for event in env.data_of("prompt.started")]
    assert texts == [GREETING, "Sales or billing?", "Please say sales or billing.", "Goodbye and thank you."]
    exits = {event["node"]: event["exit"] for event in env.data_of("node.left")}
    assert exits["ask"] == "no_input"
    await peer.disconnect()


@in_virtual_time
async def test_unmatched_answers_exit_no_match():
    env = CallEnv(ASK, "", "cheese")
    peer = start_call(env)
    await peer.run(6)
    await peer.run(5, SPEECH)
    await peer.run(6, SPEECH)
    exits = {event["node"]: event["exit"] for event in env.data_of("node.left")}
    assert exits["ask"] == "no_match"
    await peer.disconnect()


@in_virtual_time
async def test_echo_returns_each_frame():
    env = CallEnv(make_flow(echo={"type": "echo", "seconds": 1.0}))
    peer = start_call(env)
    await peer.run(0.5, SPEECH)
    payloads = [message["media"]["payload"] for message in peer.sent_messages if message["event"] == "media"]
    assert len(payloads) == 25
    assert b"".join(map(base64.b64decode, payloads)) == SPEECH[:4000]
    await peer.run(3)
    assert peer.close_code == 1000
    await peer.disconnect()


@in_virtual_time
async def test_missing_marks_do_not_stall_the_call():
    env = CallEnv(ASK)
    peer = start_call(env)
    peer.returns_marks = False
    await peer.run(40)
    assert peer.close_code == 1000
    assert env.call_record.stored.outcome == "completed"
    await peer.disconnect()


@in_virtual_time
async def test_hangup_ends_the_call_as_abandoned():
    env = CallEnv(ASK)
    peer = start_call(env)
    await peer.run(1)
    peer.deliver_numbered("stop", stop={})
    await peer.disconnect()
    assert env.data_of("call.ended")[0]["outcome"] == "abandoned"
    assert env.registry.live_calls == {}


@in_virtual_time
async def test_disconnected_call_expires_as_lost():
    env = CallEnv(ASK)
    peer = start_call(env)
    await peer.run(1)
    await peer.disconnect()
    assert env.call_record.stored.ended_at == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await asyncio.sleep(5.1)
    assert env.data_of("call.ended")[0]["outcome"] == "lost"


@in_virtual_time
async def test_new_stream_resumes_a_disconnected_call():
    env = CallEnv(ASK, "billing")
    peer = start_call(env)
    await peer.run(5)
    await peer.disconnect()
    await asyncio.sleep(0.7)
    again = start_call(env)
    await again.run(4)
    await again.run(2, SPEECH)
    await again.run(3)
    texts = [event["text"] for event in env.data_of("prompt.started")]
    assert texts[2] == "Sorry, let's go on. Sales or billing?"
    assert env.data_of("transcript.final")[0]["text"] == "billing"
    assert env.call_record.stored.generation == 2
    assert len(env.data_of("call.ended")) == 1
    await again.disconnect()


@in_virtual_time
async def test_stale_keys_after_a_resume_are_ignored():
    digits = {"type": "collect", "prompt": "Your code?", "expect": "digits", "min_digits": 4, "max_digits": 4}
    env = CallEnv(
        make_flow(ask=digits | {"save_as": "code", "exits": {"done": "bye"}}, bye={"type": "hangup", "text": "Bye."})
    )
    peer = start_call(env)
    await peer.run(3)
    peer.press_key("1")
    peer.press_key("2")
    await peer.disconnect()
    await asyncio.sleep(0.7)
    again = start_call(env)
    await again.run(0.2)
    again.press_key("3")
    again.press_key("4")
    await again.run(5)
    assert len(env.data_of("dtmf.ignored")) == 2
    for key in "1234":
        again.press_key(key)
    await again.run(3)
    assert env.data_of("node.left")[0] == {"node": "ask", "exit": "done"}
    assert env.call_record.stored.outcome == "completed"
    await again.disconnect()


@in_virtual_time
async def test_newer_stream_supersedes_the_older():
    env = CallEnv(ASK)
    old = start_call(env)
    await old.run(1)
    new = start_call(env)
    await new.wait_admission()
    assert old.close_code == 1000
    sent = len(old.sent_messages)
    await new.run(1)
    await old.disconnect()
    assert len(old.sent_messages) == sent
    assert env.call_record.stored.ended_at == 0
    assert list(env.registry.live_calls) == [env.call_record.stored.id]
    await new.disconnect()
    await asyncio.sleep(6)


@in_virtual_time
async def test_latency_is_from_end_of_speech_to_first_audio():
    env = CallEnv(ASK, "cheese")
    peer = start_call(env)
    await peer.run(6)
    await peer.run(3, SPEECH)
    (latency,) = [event["latency_ms"] for event in env.data_of("prompt.started") if "latency_ms" in event]
    assert 500 <= latency <= 800  # the silence that ends an utterance, and next to nothing
    await peer.disconnect()
    await asyncio.sleep(6)


LATER = make_flow(
    talk={"type": "say", "text": "A", "exits": {"next": "ring"}},
    ring={"type": "transfer", "department": "sales", "exits": {"busy": "ask"}},
    ask=ASK["nodes"]["ask"] | {"exits": {}},
)


async def end_transfer(env, how):
    """What the webhook does when ringing has ended."""
    record = env.call_record
    record.complete_transfer(
        TransferEnded(record.elapsed(env.calls.services.wall_clock()), record.resume.phase.transfer.id, how)
    )
    await env.calls.repository.save_and_wait(record)


@in_virtual_time
async def test_stream_after_a_transfer_starts_without_old_state():
    env = CallEnv(LATER | {"max_seconds": 60})
    peer = start_call(env)
    await peer.run(0.5, SPEECH)  # speaking while the transfer begins
    await peer.disconnect()
    assert env.call_record.resume.phase.transfer.department == "sales"
    await asyncio.sleep(10)
    await end_transfer(env, "busy")
    again = start_call(env)
    await again.run(2)
    assert env.data_of("prompt.started")[-1]["text"] == "Sales or billing?", "nobody is believed to be speaking"
    await again.run(70)
    assert env.call_record.stored.outcome, "the longest call is still counted"
    await again.disconnect()


@in_virtual_time
async def test_time_of_a_transfer_is_not_billed():
    env = CallEnv(LATER)
    peer = start_call(env)
    await peer.run(3)
    await peer.disconnect()
    streamed = env.call_record.meter.billed_microseconds
    await asyncio.sleep(30)
    await end_transfer(env, "busy")
    again = start_call(env)
    await again.run(2)
    again.deliver_numbered("stop", stop={})
    assert env.data_of("call.ended")[0]["billed_seconds"] == pytest.approx(streamed / 1e6 + 2, abs=0.1)
    await again.disconnect()


@in_virtual_time
async def test_superseding_stream_resumes_the_flow():
    env = CallEnv(ASK, "billing")
    old = start_call(env)
    await old.run(5)
    new = start_call(env)
    await new.run(1)
    assert len(env.data_of("call.started")) == 1
    assert env.data_of("prompt.started")[-1]["text"].startswith("Sorry, let's go on. Sales or billing?")
    await old.disconnect()
    await new.disconnect()
    await asyncio.sleep(6)


@in_virtual_time
async def test_failing_action_does_not_loop_at_full_speed():
    env = CallEnv(
        make_flow(
            queue={"type": "queue", "department": "sales", "exits": {"failed": "queue"}},
        )
    )
    peer = start_call(env)
    await peer.run(5)
    assert 3 <= len(env.data_of("node.entered")) <= 7
    await peer.disconnect()
    await asyncio.sleep(6)


class StallingSynthesizer(ToneSynthesizer):
    """Says a little, and then nothing more."""

    async def speak(self, text, voice, tenant=""):
        yield b"\x7e" * 800
        await asyncio.sleep(1_000_000)


class BrokenSynthesizer(ToneSynthesizer):
    """Has a defect."""

    async def speak(self, text, voice, tenant=""):
        yield b"\x7e" * 800
        raise ConnectionResetError


@pytest.mark.parametrize("synthesizer", [StallingSynthesizer(), BrokenSynthesizer()])
@in_virtual_time
async def test_failing_synthesizer_does_not_keep_the_call_from_ending(synthesizer):
    env = CallEnv(make_flow(bye={"type": "hangup", "text": "Goodbye."}), synthesizer=synthesizer)
    peer = start_call(env)
    await peer.run(10)
    assert (peer.close_code, env.call_record.stored.outcome) == (1000, "completed")
    assert len(env.data_of("prompt.failed")) == 1
    await peer.disconnect()


@in_virtual_time
async def test_recognition_timeout_skips_the_providers_voice_for_the_turn():
    recognizers = FallbackRecognizer(
        {"elevenlabs": FaultyRecognizer("...", "billing"), "azure": FaultyRecognizer("who knows")}
    )
    voices = FallbackSynthesizer({"elevenlabs": ToneSynthesizer(), "azure": ToneSynthesizer()})
    env = CallEnv(
        {**ASK, "voice": {"tier": "elevenlabs", "name": "rachel"}}, speech=SpeechServices(recognizers, voices)
    )
    peer = start_call(env)
    await peer.run(6)
    await peer.run(5, SPEECH)
    await peer.run(5, SPEECH)
    spoken = {name: tally.syntheses for name, tally in env.stored_call.provider_usage.items()}
    assert [event["text"] for event in env.data_of("transcript.final")] == ["who knows", "billing"]
    assert spoken == {"elevenlabs": 4, "azure": 1}  # the greeting has two sentences
    await peer.disconnect()


@in_virtual_time
async def test_internal_error_closes_the_stream_and_the_call_resumes(caplog):
    class Defective(ScriptedRecognition):
        def feed(self, mulaw):
            raise KeyError("a defect")

    class Opening(ScriptedRecognizer):
        def open(self, expectation, heard, failed):
            return Defective(expectation, str, heard)

    env = CallEnv(ASK, recognizer=Opening())
    peer = start_call(env)
    await peer.run(6)
    with pytest.raises(KeyError):
        await peer.run(1, SPEECH)
    await peer.disconnect()
    assert env.call_record.resume.checkpoint is not None
    again = start_call(env)
    await again.run(2)
    again.press_key("2")
    await again.run(4)
    assert env.call_record.stored.outcome == "completed"
    await again.disconnect()


@in_virtual_time
async def test_completed_status_ends_and_bills_a_live_call():
    env = CallEnv(ASK)
    peer = start_call(env)
    await peer.run(5)
    await env.report_ended()
    (ended,) = env.data_of("call.ended")
    assert (ended["outcome"], peer.close_code) == ("abandoned", 1000)
    assert ended["billed_seconds"] == pytest.approx(5, abs=0.1)
    count = len(env.events)
    peer.close_code = None
    peer.deliver_numbered("mark", mark={"name": "p2.end"})
    assert len(env.events) == count, "nothing follows the end"
    await peer.disconnect()


@in_virtual_time
async def test_completed_status_waits_for_the_end_of_the_transfer():
    env = CallEnv(LATER)
    peer = start_call(env)
    await peer.run(3)
    await peer.disconnect()
    await env.report_ended()
    assert env.call_record.stored.ended_at == 0
    await asyncio.sleep(5.1)
    assert env.call_record.stored.outcome == "abandoned"


@in_virtual_time
async def test_call_without_a_stream_expires_as_abandoned():
    env = CallEnv(ASK)
    watch = env.calls.reaper
    await watch.start()
    await asyncio.sleep(70)
    assert env.data_of("call.ended") == []
    await asyncio.sleep(25)
    assert env.data_of("call.ended")[0]["outcome"] == "abandoned"
    await watch.aclose()


@in_virtual_time
async def test_token_of_an_ended_call_is_refused():
    env = CallEnv(ASK)
    token = env.stream_token()
    await env.report_ended()
    await asyncio.sleep(5.1)
    peer = TwilioPeer(env, token)
    await peer.wait_admission()
    assert peer.close_code == 1008
    assert len(env.data_of("call.ended")) == 1
    await peer.disconnect()


@in_virtual_time
async def test_stored_sound_is_played_and_a_missing_one_skipped():
    env = CallEnv(
        make_flow(
            jingle={"type": "say", "audio": "jingle", "exits": {"next": "lost"}},
            lost={"type": "say", "audio": "lost", "exits": {"next": "bye"}},
            bye={"type": "hangup"},
        )
    )
    peer = start_call(env)
    await peer.run(3)
    assert (peer.close_code, peer.sent_seconds()) == (1000, 1.0)
    assert env.data_of("prompt.failed") == [{"prompt": "p3", "error": "there is no sound 'lost'"}]
    await peer.disconnect()


@in_virtual_time
async def test_provider_usage_is_saved_at_hangup():
    env = CallEnv(ASK)
    peer = start_call(env)
    await peer.run(4)
    await peer.run(0.5, SPEECH)
    peer.deliver_numbered("stop", stop={})
    await peer.disconnect()
    tally = env.stored_call.provider_usage["local"]
    assert tally.characters > 0
    assert (tally.recognitions, tally.recognized_ms > 100) == (1, True)
