"""The stream protocol: transitions, sequence numbers, close codes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocelio.gateway.media import messages
from vocelio.gateway.media.stream import MediaStream, StreamError, StreamState

SID, ACCOUNT, CALL = "MZ" + "1" * 32, "AC" + "2" * 32, "CA" + "3" * 32
CONNECTED = '{"event":"connected","protocol":"Call","version":"1.0.0"}'


def start_message(sequence=1, **changes):
    facts = {
        "accountSid": ACCOUNT,
        "streamSid": SID,
        "callSid": CALL,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {},
    } | changes
    return json.dumps({"event": "start", "sequenceNumber": str(sequence), "streamSid": SID, "start": facts})


def media_message(sequence, track="inbound"):
    body = {"track": track, "chunk": "1", "timestamp": "0", "payload": "/////w=="}
    return json.dumps({"event": "media", "sequenceNumber": str(sequence), "streamSid": SID, "media": body})


def mark_message(sequence):
    return json.dumps({"event": "mark", "sequenceNumber": str(sequence), "streamSid": SID, "mark": {"name": "m"}})


def dtmf_message(sequence):
    body = {"track": "inbound_track", "digit": "5"}
    return json.dumps({"event": "dtmf", "sequenceNumber": str(sequence), "streamSid": SID, "dtmf": body})


def stop_message(sequence):
    return json.dumps({"event": "stop", "sequenceNumber": str(sequence), "streamSid": SID, "stop": {}})


def fed_stream(*texts):
    stream = MediaStream()
    for text in texts:
        stream.receive(text)
    return stream


def test_stream_from_connected_to_stop():
    stream = fed_stream(
        CONNECTED,
        start_message(1),
        media_message(2),
        dtmf_message(3),
        mark_message(4),
        media_message(5),
        stop_message(6),
    )
    assert stream.state is StreamState.STOPPED
    assert stream.missing_messages == 0


@pytest.mark.parametrize(
    "texts",
    [
        (start_message(),),
        (media_message(1),),
        (CONNECTED, CONNECTED),
        (CONNECTED, media_message(1)),
        (CONNECTED, mark_message(1)),
        (CONNECTED, start_message(1), start_message(2)),
        (CONNECTED, start_message(1), CONNECTED),
        (CONNECTED, start_message(1), stop_message(2), media_message(3)),
        (CONNECTED, start_message(1), stop_message(2), stop_message(3)),
    ],
)
def test_message_in_a_wrong_state_is_an_error(texts):
    with pytest.raises(StreamError, match="may not come while") as caught:
        fed_stream(*texts)
    assert caught.value.code == 1002


def test_decreasing_sequence_number_is_an_error():
    with pytest.raises(StreamError, match="sequence number 2 after 3") as caught:
        fed_stream(CONNECTED, start_message(1), media_message(3), media_message(2))
    assert caught.value.code == 1002
    with pytest.raises(StreamError):
        fed_stream(CONNECTED, start_message(1), media_message(2), media_message(2))


def test_missing_messages_are_counted():
    assert (
        fed_stream(CONNECTED, start_message(1), media_message(5), media_message(6), media_message(10)).missing_messages
        == 6
    )


def test_malformed_message_is_an_error():
    with pytest.raises(StreamError, match="malformed") as caught:
        fed_stream(CONNECTED, start_message(1), "{")
    assert caught.value.code == 1007


def test_unsupported_audio_format_is_an_error():
    for change in ({"encoding": "audio/opus"}, {"sampleRate": 16000}, {"channels": 2}):
        form = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1} | change
        with pytest.raises(StreamError, match="not mu-law") as caught:
            fed_stream(CONNECTED, start_message(mediaFormat=form))
        assert caught.value.code == 1003


def test_outbound_track_is_ignored():
    stream = fed_stream(CONNECTED, start_message(1))
    assert stream.receive(media_message(2, track="outbound")) is None
    assert isinstance(stream.receive(media_message(3)), messages.Media)


@given(st.lists(st.sampled_from([CONNECTED, start_message(1), "{}", '{"event":"new"}'])), st.lists(st.integers(0, 9)))
def test_any_message_order_gives_messages_or_a_stream_error(texts, numbers):
    stream = MediaStream()
    later = [kind(number) for number in numbers for kind in (media_message, mark_message, dtmf_message, stop_message)]
    try:
        for text in [*texts, *later]:
            stream.receive(text)
    except StreamError as error:
        assert error.code in (1002, 1003, 1007)  # noqa: PT017 (there may be no error)
