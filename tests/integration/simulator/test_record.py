"""<Record>: ends of a recording, and the webhooks for each."""

import pytest

from tests.support.scripted_gateway import ACCOUNT, STREAM, ScriptedGateway, ScriptedMedia, tone
from vocelio.gateway.simulator import error_codes
from vocelio.gateway.simulator.caller.script import HangUp, PlayAudio, PressKeys

VOICE = "/twilio/voice"
WORD = PlayAudio(audio=tone(0.4), text="leave a word", max_wait_seconds=1.5)


def record_twiml(more="", after="<Say>Nothing was said.</Say>"):
    return f'<Record action="/recorded" recordingStatusCallback="/status" {more}/>{after}'


async def test_silence_ends_the_recording_and_requests_the_action(place_call):
    peer = ScriptedGateway({VOICE: record_twiml('timeout="1"'), "/recorded": "<Hangup/>"})
    report = await place_call(peer, [WORD])
    (taped,) = report.recorded_messages
    form = peer.form_of("/recorded")
    assert form["RecordingSid"] == taped.sid
    assert form["RecordingUrl"] == taped.url
    assert taped.url == f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}/Recordings/{taped.sid}"
    assert (form["RecordingDuration"], form["Digits"], form["CallStatus"]) == ("1", "", "in-progress")
    assert 0.38 <= len(taped.audio) / 8000 <= 0.42, "the silence at both ends is cut off"
    assert peer.form_of("/status")["RecordingStatus"] == "completed"
    assert peer.form_of("/status")["RecordingUrl"] == taped.url
    assert (report.ending, report.errors, report.say_texts) == ("hangup", (), ())
    assert report.turns[0].text == "leave a word", "the beep was the sign to begin"


async def test_silence_is_kept_without_trimming(place_call):
    peer = ScriptedGateway({VOICE: record_twiml('timeout="1" trim="do-not-trim"'), "/recorded": ""})
    report = await place_call(peer, [WORD])
    assert report.recorded_messages[0].seconds >= 2
    assert peer.form_of("/recorded")["RecordingDuration"] == str(report.recorded_messages[0].seconds)


async def test_key_ends_the_recording(place_call):
    peer = ScriptedGateway({VOICE: record_twiml('finishOnKey="#9"'), "/recorded": ""})
    report = await place_call(peer, [WORD, PressKeys("1#", max_wait_seconds=0.3)])
    assert peer.form_of("/recorded")["Digits"] == "#"
    assert report.recorded_messages[0].digits == "#"


async def test_maximum_length_ends_the_recording(place_call):
    peer = ScriptedGateway({VOICE: record_twiml('maxLength="2" trim="do-not-trim"'), "/recorded": ""})
    report = await place_call(peer, [PlayAudio(audio=tone(4.0))])
    assert len(report.recorded_messages[0].audio) == 2 * 8000
    assert report.seconds < 5


@pytest.mark.parametrize(
    ("events", "statuses"), [("", []), ('recordingStatusCallbackEvent="absent"', ["absent"])], ids=["default", "absent"]
)
async def test_next_verb_follows_an_empty_recording(place_call, events, statuses):
    peer = ScriptedGateway({VOICE: record_twiml(f'timeout="1" playBeep="false" {events}')})
    report = await place_call(peer)
    assert report.say_texts == ("Nothing was said.",)
    assert "/recorded" not in peer.requested_paths
    assert [form["RecordingStatus"] for path, form in peer.posts if path == "/status"] == statuses
    assert [taped.audio for taped in report.recorded_messages] == [b""]


async def test_recording_of_a_caller_who_hangs_up(place_call):
    peer = ScriptedGateway(
        {VOICE: record_twiml('recordingStatusCallbackEvent="in-progress completed"'), "/recorded": ""}
    )
    report = await place_call(peer, [WORD, HangUp(max_wait_seconds=0.2)])
    assert report.ending == "caller_hung_up"
    assert peer.form_of("/recorded")["Digits"] == "hangup"
    assert peer.form_of("/recorded")["CallStatus"] == "completed"
    statuses = [form["RecordingStatus"] for path, form in peer.posts if path == "/status"]
    assert statuses == ["in-progress", "completed"]


async def test_audio_during_the_beep_is_not_recorded(place_call):
    peer = ScriptedGateway({VOICE: record_twiml('timeout="1" trim="do-not-trim"'), "/recorded": ""})
    report = await place_call(peer, [PlayAudio(audio=tone(0.6), max_wait_seconds=0.0)])
    assert report.recorded_messages[0].audio[0] != 0xFF or report.recorded_messages[0].audio[1] != 0xFF, (
        "it begins within the word"
    )
    assert 1.1 <= len(report.recorded_messages[0].audio) / 8000 <= 1.3


async def test_recording_after_a_stream(place_call):
    async def prompt(media: ScriptedMedia) -> None:
        await media.play(tone(0.3), "said")
        await media.wait_for_mark("said")
        await media.close()

    peer = ScriptedGateway({VOICE: STREAM + record_twiml('timeout="1"'), "/recorded": "<Say>Thank you.</Say>"}, prompt)
    report = await place_call(peer, [WORD])
    assert len(report.recorded_messages[0].audio) > 0
    assert (report.ending, report.errors, report.say_texts) == ("twiml", (), ("Thank you.",))


async def test_failing_action_ends_the_call(place_call):
    report = await place_call(ScriptedGateway({VOICE: record_twiml('timeout="1"'), "/recorded": "<Recorded/>"}), [WORD])
    assert report.ending == "error"
    assert [error.code for error in report.errors] == [error_codes.SCHEMA_VALIDATION]
