import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from vocelio.gateway.simulator import error_codes
from vocelio.gateway.simulator.media.messages import FRAME_SAMPLES, FRAME_SECONDS, SILENT_FRAME, MessageWriter
from vocelio.gateway.simulator.media.playback_buffer import MAX_BUFFER_SAMPLES, StreamBuffer

STREAM_SID = "MZ1"


def make_buffer() -> StreamBuffer:
    return StreamBuffer(STREAM_SID, MessageWriter("AC1", "CA1", STREAM_SID, {"token": "t"}))


def encode_message(event: str, **body) -> str:
    return json.dumps({"event": event, "streamSid": STREAM_SID, **body})


def media_message(audio: bytes) -> str:
    return encode_message("media", media={"payload": base64.b64encode(audio).decode()})


def mark_message(name: str) -> str:
    return encode_message("mark", mark={"name": name})


CLEAR_MESSAGE = encode_message("clear")


def mark_names(messages) -> list[str]:
    return [json.loads(text)["mark"]["name"] for text in messages]


def error_codes_of(line: StreamBuffer) -> list[int]:
    return [fault.code for fault in line.errors]


def test_opening_messages_are_connected_and_start():
    connected, start = map(json.loads, make_buffer().opening_messages())
    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert start == {
        "event": "start",
        "sequenceNumber": "1",
        "streamSid": STREAM_SID,
        "start": {
            "accountSid": "AC1",
            "streamSid": STREAM_SID,
            "callSid": "CA1",
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"token": "t"},
        },
    }


def test_sequence_numbers_are_strings():
    line = make_buffer()
    line.opening_messages()
    out = line.writer
    assert json.loads(out.media("/w==")) == {
        "event": "media",
        "sequenceNumber": "2",
        "streamSid": STREAM_SID,
        "media": {"track": "inbound", "chunk": "1", "timestamp": "20", "payload": "/w=="},
    }
    assert json.loads(out.dtmf("5"))["dtmf"] == {"track": "inbound_track", "digit": "5"}
    second = json.loads(out.media("/w=="))
    assert (second["sequenceNumber"], second["media"]["chunk"], second["media"]["timestamp"]) == ("4", "2", "40")
    assert json.loads(out.stop())["stop"] == {"accountSid": "AC1", "callSid": "CA1"}


def test_audio_of_any_size_is_played_in_frames():
    line = make_buffer()
    audio = bytes(range(200))
    line.receive(media_message(audio[:7]), 0.0)
    line.receive(media_message(audio[7:]), 0.0)
    assert line.play(0.02).audio == audio[:160]
    assert line.play(0.04).audio == audio[160:] + SILENT_FRAME[40:]
    assert line.play(0.06).audio is SILENT_FRAME


def test_mark_is_returned_with_the_frame_after_its_audio():
    line = make_buffer()
    line.receive(media_message(bytes(320)), 0.0)
    assert line.receive(mark_message("a"), 0.0) == ()
    assert line.play(0.02).marks == ()
    assert line.play(0.04).marks == ()
    assert mark_names(line.play(0.06).marks) == ["a"]


def test_mark_received_during_its_audio_is_delayed():
    line = make_buffer()
    line.receive(media_message(bytes(160)), 0.0)
    line.play(0.02)
    assert line.receive(mark_message("a"), 0.03) == ()
    assert mark_names(line.play(0.04).marks) == ["a"]


def test_mark_is_returned_at_once_if_nothing_is_playing():
    line = make_buffer()
    assert mark_names(line.receive(mark_message("a"), 0.0)) == ["a"]
    line.play(0.02)
    assert mark_names(line.receive(mark_message("b"), 0.03)) == ["b"]


def test_clear_empties_the_buffer_and_returns_its_marks():
    line = make_buffer()
    line.receive(media_message(bytes(1600)), 0.0)
    line.receive(mark_message("a"), 0.0)
    line.play(0.02)
    assert mark_names(line.receive(CLEAR_MESSAGE, 0.025)) == ["a"]
    played = line.play(0.04)
    assert played.audio is SILENT_FRAME
    assert played.cleared
    assert not line.play(0.06).cleared
    (clear,) = line.clears
    assert clear.to_silence_ms == pytest.approx(15)
    assert clear.cleared_ms == pytest.approx(180)
    assert line.returned_marks[0].by_clear


def test_gap_within_a_burst_is_an_underrun():
    line = make_buffer()
    line.receive(media_message(bytes(100)), 0.0)
    for frame in range(3):
        line.play(0.02 * frame)
    line.receive(media_message(bytes(160)), 0.05)
    line.play(0.06)
    assert line.underruns == 1
    assert line.underrun_samples == 60 + 320


@pytest.mark.parametrize("between", [mark_message("end"), CLEAR_MESSAGE])
def test_gap_after_a_mark_or_clear_is_no_underrun(between):
    line = make_buffer()
    line.receive(media_message(bytes(160)), 0.0)
    line.play(0.02)
    line.receive(between, 0.03)
    line.play(0.04)
    line.receive(media_message(bytes(160)), 0.05)
    line.play(0.06)
    assert line.underruns == 0


def test_long_silence_is_no_underrun():
    line = make_buffer()
    line.receive(media_message(bytes(160)), 0.0)
    for frame in range(40):
        line.play(0.02 * frame)
    line.receive(media_message(bytes(160)), 0.8)
    line.play(0.82)
    assert line.underruns == 0


def test_unknown_event_is_a_protocol_error():
    line = make_buffer()
    line.receive(encode_message("start"), 1.5)
    assert error_codes_of(line) == [error_codes.STREAM_PROTOCOL]
    assert line.errors[0].at == 1.5
    assert not line.errors[0].is_warning


def test_malformed_messages_are_logged_once():
    line = make_buffer()
    for text in (
        "",
        "{",
        "[]",
        "1",
        '{"streamSid":"MZ1"}',
        encode_message("media"),
        encode_message("mark", mark={"name": 1}),
    ):
        line.receive(text, 0.0)
    line.receive(json.dumps({"event": "clear", "streamSid": "MZ2"}), 0.0)
    line.receive(encode_message("media", media={"payload": "not base64!"}), 0.0)
    assert error_codes_of(line) == [error_codes.STREAM_MALFORMED]
    assert line.errors[0].is_warning


def test_binary_message_is_logged_once():
    line = make_buffer()
    line.receive(b"{}", 0.0)
    line.receive(b"{}", 0.0)
    assert error_codes_of(line) == [error_codes.STREAM_BINARY]


def test_buffer_is_bounded():
    line = make_buffer()
    minute = media_message(bytes(MAX_BUFFER_SAMPLES // 10))
    for _ in range(11):
        line.receive(minute, 0.0)
    assert line.received_samples == MAX_BUFFER_SAMPLES
    assert error_codes_of(line) == [error_codes.STREAM_MALFORMED]


@given(st.one_of(st.text(max_size=80), st.binary(max_size=40), st.integers(1, 3000).map(lambda n: "[" * n)))
def test_no_received_message_raises(anything):
    line = make_buffer()
    assert line.receive(anything, 0.0) == ()


class StreamBufferMachine(RuleBasedStateMachine):
    """Random messages and frames, compared with a model that knows when each sample is heard."""

    def __init__(self):
        super().__init__()
        self.line = make_buffer()
        self.now = 0.0
        self.sent: list[str] = []
        self.back: list[str] = []
        self.before: dict[str, int] = {}  # samples that must be heard, or cleared, before a mark is returned
        self.heard = 0  # samples of audio that have been played to their end

    def take(self, returned):
        for name in mark_names(returned):
            self.back.append(name)
            assert self.heard + self.line.cleared_samples >= self.before[name]

    @rule(size=st.integers(0, 500))
    def audio(self, size):
        self.line.receive(media_message(bytes(size)), self.now)

    @rule()
    def mark(self):
        name = str(len(self.sent))
        self.sent.append(name)
        self.before[name] = self.line.received_samples
        self.take(self.line.receive(mark_message(name), self.now))

    @rule()
    def clear(self):
        # What is under way when the clear comes counts as heard: it is at most the rest of one frame.
        self.heard = self.line.played_samples
        self.take(self.line.receive(CLEAR_MESSAGE, self.now))
        assert self.back == self.sent

    @rule()
    def frame(self):
        self.now += FRAME_SECONDS
        self.heard = self.line.played_samples
        played = self.line.play(self.now)
        self.take(played.marks)
        assert len(played.audio) == FRAME_SAMPLES
        self.now += FRAME_SECONDS / 2

    @invariant()
    def all_audio_accounted_for(self):
        buffered = self.line.received_samples - self.line.played_samples - self.line.cleared_samples
        assert buffered >= 0
        assert self.back == self.sent[: len(self.back)]

    def teardown(self):
        for _ in range(self.line.received_samples // FRAME_SAMPLES + 2):
            self.frame()
        assert self.line.played_samples == self.line.received_samples - self.line.cleared_samples
        assert self.back == self.sent


TestStreamBuffer = StreamBufferMachine.TestCase
