"""<Record>: what ends it, and what the gateway is told of it."""

import pytest

from tests.integration.simulator.peer import ACCOUNT, STREAM, Media, Peer, tone
from vocelio.gateway.simulator import error_codes
from vocelio.gateway.simulator.caller.script import HangUp, Press, Sound

VOICE = "/twilio/voice"
WORD = Sound(audio=tone(0.4), text="leave a word", longest_wait=1.5)


def record(more="", after="<Say>Nothing was said.</Say>"):
    return f'<Record action="/recorded" recordingStatusCallback="/status" {more}/>{after}'


async def test_silence_ends_it_and_the_action_is_told_of_the_recording(place):
    peer = Peer({VOICE: record('timeout="1"'), "/recorded": "<Hangup/>"})
    report = await place(peer, [WORD])
    (taped,) = report.taped
    form = peer.form("/recorded")
    assert form["RecordingSid"] == taped.sid
    assert form["RecordingUrl"] == taped.url
    assert taped.url == f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}/Recordings/{taped.sid}"
    assert (form["RecordingDuration"], form["Digits"], form["CallStatus"]) == ("1", "", "in-progress")
    assert 0.38 <= len(taped.audio) / 8000 <= 0.42, "the silence at both ends is cut off"
    assert peer.form("/status")["RecordingStatus"] == "completed"
    assert peer.form("/status")["RecordingUrl"] == taped.url
    assert (report.ended, report.errors, report.spoken) == ("hangup", (), ())
    assert report.turns[0].said == "leave a word", "the beep was the sign to begin"


async def test_the_silence_is_kept_if_so_ordered(place):
    peer = Peer({VOICE: record('timeout="1" trim="do-not-trim"'), "/recorded": ""})
    report = await place(peer, [WORD])
    assert report.taped[0].seconds >= 2
    assert peer.form("/recorded")["RecordingDuration"] == str(report.taped[0].seconds)


async def test_a_key_ends_it(place):
    peer = Peer({VOICE: record('finishOnKey="#9"'), "/recorded": ""})
    report = await place(peer, [WORD, Press("1#", longest_wait=0.3)])
    assert peer.form("/recorded")["Digits"] == "#"
    assert report.taped[0].digits == "#"


async def test_its_length_ends_it(place):
    peer = Peer({VOICE: record('maxLength="2" trim="do-not-trim"'), "/recorded": ""})
    report = await place(peer, [Sound(audio=tone(4.0))])
    assert len(report.taped[0].audio) == 2 * 8000
    assert report.seconds < 5


@pytest.mark.parametrize(
    ("events", "told"), [("", []), ('recordingStatusCallbackEvent="absent"', ["absent"])], ids=["default", "absent"]
)
async def test_nothing_said_leads_to_the_next_verb(place, events, told):
    peer = Peer({VOICE: record(f'timeout="1" playBeep="false" {events}')})
    report = await place(peer)
    assert report.spoken == ("Nothing was said.",)
    assert "/recorded" not in peer.paths
    assert [form["RecordingStatus"] for path, form in peer.posts if path == "/status"] == told
    assert [taped.audio for taped in report.taped] == [b""]


async def test_a_caller_who_hangs_up_has_been_recorded(place):
    peer = Peer({VOICE: record('recordingStatusCallbackEvent="in-progress completed"'), "/recorded": ""})
    report = await place(peer, [WORD, HangUp(longest_wait=0.2)])
    assert report.ended == "caller_hung_up"
    assert peer.form("/recorded")["Digits"] == "hangup"
    assert peer.form("/recorded")["CallStatus"] == "completed"
    statuses = [form["RecordingStatus"] for path, form in peer.posts if path == "/status"]
    assert statuses == ["in-progress", "completed"]


async def test_what_is_said_over_the_beep_is_not_recorded(place):
    peer = Peer({VOICE: record('timeout="1" trim="do-not-trim"'), "/recorded": ""})
    report = await place(peer, [Sound(audio=tone(0.6), longest_wait=0.0)])
    assert report.taped[0].audio[0] != 0xFF or report.taped[0].audio[1] != 0xFF, "it begins within the word"
    assert 1.1 <= len(report.taped[0].audio) / 8000 <= 1.3


async def test_after_a_stream_a_message_is_left(place):
    async def prompt(media: Media) -> None:
        await media.play(tone(0.3), "said")
        await media.marked("said")
        await media.close()

    peer = Peer({VOICE: STREAM + record('timeout="1"'), "/recorded": "<Say>Thank you.</Say>"}, prompt)
    report = await place(peer, [WORD])
    assert len(report.taped[0].audio) > 0
    assert (report.ended, report.errors, report.spoken) == ("twiml", (), ("Thank you.",))


async def test_an_action_that_fails_ends_the_call(place):
    report = await place(Peer({VOICE: record('timeout="1"'), "/recorded": "<Recorded/>"}), [WORD])
    assert report.ended == "error"
    assert [error.code for error in report.errors] == [error_codes.SCHEMA]
