"""One stream from start to end, against a scripted gateway."""

import json
from itertools import pairwise

from tests.support.scripted_gateway import ACCOUNT, STREAM, ScriptedGateway, ScriptedMedia, tone
from vocelio.gateway.simulator import error_codes
from vocelio.gateway.simulator.caller.script import HangUp, PlayAudio, PressKeys

VOICE = "/twilio/voice"


async def stay(media: ScriptedMedia) -> None:
    await media.wait_for_close()


async def greet_and_stay(media: ScriptedMedia) -> None:
    await media.play(tone(0.3), "greeted")
    await media.wait_for_close()


async def test_messages_to_the_server(place_call):
    peer = ScriptedGateway({VOICE: STREAM}, greet_and_stay)
    report = await place_call(peer, [HangUp()])
    connected, start, *rest = peer.medias[0].messages
    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert start["start"]["customParameters"] == {"token": "t1"}
    assert start["start"]["callSid"] == report.call_sid == peer.form_of(VOICE)["CallSid"]
    assert start["start"]["accountSid"] == ACCOUNT
    numbers = [int(message["sequenceNumber"]) for message in (start, *rest)]
    assert all(later == earlier + 1 for earlier, later in pairwise(numbers))
    assert rest[-1]["event"] == "stop"
    assert rest[-1]["stop"] == {"accountSid": ACCOUNT, "callSid": report.call_sid}


async def test_frames_are_sent_in_real_time(place_call):
    peer = ScriptedGateway({VOICE: STREAM}, stay)
    report = await place_call(peer, max_seconds=1.5)
    assert report.ending == "too_long"
    frames = [message for message in peer.medias[0].messages if message["event"] == "media"]
    assert 40 <= len(frames) <= 75
    assert [int(frame["media"]["chunk"]) for frame in frames] == list(range(1, len(frames) + 1))


async def test_marks_are_returned_after_their_audio_has_been_played(place_call):
    took = {}

    async def script(media: ScriptedMedia) -> None:
        await media.send("mark", mark={"name": "before"})
        began = await media.wait_for_mark("before")
        await media.play(tone(0.4), "first")
        await media.play(tone(2.0), "second")
        took["first"] = await media.wait_for_mark("first") - began
        took["second"] = await media.wait_for_mark("second") - began
        await media.close()

    report = await place_call(ScriptedGateway({VOICE: STREAM}, script))
    assert 0.4 <= took["first"] < 2 < 2.4 <= took["second"] < 4
    assert [mark.name for mark in report.marks] == ["before", "first", "second"]
    assert report.ending == "twiml"
    (stream,) = report.streams
    assert (stream.closed_by, stream.close_code) == ("server", 1000)
    assert stream.received_ms == stream.played_ms == 2400
    assert stream.underruns == 0
    assert report.heard_audio.count(0xFF) < len(report.heard_audio)
    assert report.errors == ()


async def test_clear_stops_playback_on_barge_in(place_call):
    async def script(media: ScriptedMedia) -> None:
        await media.play(tone(10.0), "prompt")
        await media.wait_for_speech()
        await media.send("clear")
        await media.wait_for_mark("prompt")
        await media.play(tone(0.2))
        await media.wait_for_close()

    shout = PlayAudio(audio=tone(0.4), text="wait", interrupt_after_seconds=0.5)
    report = await place_call(ScriptedGateway({VOICE: STREAM}, script), [shout, HangUp()])
    (clear,) = report.clears
    assert clear.to_silence_ms <= 20
    assert clear.cleared_ms > 7000
    assert report.marks[0].by_clear
    turn = report.turns[0]
    assert turn.interrupted
    assert 20 <= turn.barge_in_latency_ms < 2000
    assert report.streams[0].played_ms < 3000
    assert report.ending == "caller_hung_up"


async def test_latency_is_measured_from_the_end_of_speech(place_call):
    async def script(media: ScriptedMedia) -> None:
        await media.play(tone(0.2))
        await media.wait_for_silence()
        await media.play(tone(0.2))
        await media.wait_for_close()

    word = PlayAudio(audio=tone(1.5) + bytes([0xFF]) * 4000, text="hello")
    report = await place_call(ScriptedGateway({VOICE: STREAM}, script), [word, HangUp()])
    # The server waits for 100 ms of silence; a frame's own 20 ms and up to one more until the next are the line's.
    assert 100 <= report.turns[0].latency_ms < 1500
    assert report.latencies_ms == (report.turns[0].latency_ms,)


async def test_keys_are_sent_one_by_one(place_call):
    peer = ScriptedGateway({VOICE: STREAM}, greet_and_stay)
    report = await place_call(peer, [PressKeys("42"), HangUp(max_wait_seconds=0.2)])
    messages = peer.medias[0].messages
    keys = [index for index, message in enumerate(messages) if message["event"] == "dtmf"]
    assert [messages[index]["dtmf"] for index in keys] == [
        {"track": "inbound_track", "digit": "4"},
        {"track": "inbound_track", "digit": "2"},
    ]
    assert keys[1] - keys[0] == 11
    assert report.turns[0].kind == "keys"
    assert report.turns[0].latency_ms is None


async def test_underruns_are_counted(place_call):
    async def script(media: ScriptedMedia) -> None:
        await media.play(tone(0.1))
        for _ in range(10):
            await media.wait_for("media")
        await media.play(tone(0.1), "end")
        await media.wait_for_mark("end")
        await media.close()

    report = await place_call(ScriptedGateway({VOICE: STREAM}, script))
    assert report.underruns == 1
    assert report.streams[0].underrun_ms >= 60


async def test_invalid_messages_of_the_server_are_logged(place_call):
    async def script(media: ScriptedMedia) -> None:
        await media.send("hangup")
        await media.send("media")
        await media.websocket.send_text("nonsense")
        await media.websocket.send_bytes(b"x")
        await media.play(tone(0.1), "still here")
        await media.wait_for_mark("still here")
        await media.close(1011)

    report = await place_call(ScriptedGateway({VOICE: STREAM}, script))
    assert [error.code for error in report.errors] == [
        error_codes.STREAM_PROTOCOL,
        error_codes.STREAM_MALFORMED,
        error_codes.STREAM_BINARY,
        error_codes.STREAM_CLOSED,
    ]


async def test_stream_status_callbacks_are_posted(place_call):
    reported = STREAM.replace("<Stream ", '<Stream name="n" statusCallback="/twilio/stream" ')
    peer = ScriptedGateway({VOICE: reported}, greet_and_stay)
    await place_call(peer, [HangUp()])
    events = [form["StreamEvent"] for path, form in peer.posts if path == "/twilio/stream"]
    assert events == ["stream-started", "stream-stopped"]
    assert peer.form_of("/twilio/stream")["StreamSid"] == peer.medias[0].sid


async def test_oversized_message_ends_the_stream(place_call):
    async def script(media: ScriptedMedia) -> None:
        await media.websocket.send_text(json.dumps({"event": "x" * (1 << 21)}))
        await media.wait_for_close()

    report = await place_call(ScriptedGateway({VOICE: STREAM}, script))
    assert [error.code for error in report.errors] == [error_codes.STREAM_PROTOCOL]
    assert report.streams[0].closed_by == "lost"
