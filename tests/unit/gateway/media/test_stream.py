"""What may come when: the stream's table, its sequence numbers, and what the peer is told it did wrong."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocelio.gateway.media import messages
from vocelio.gateway.media.stream import MediaStream, State, StreamError

SID, ACCOUNT, CALL = "MZ" + "1" * 32, "AC" + "2" * 32, "CA" + "3" * 32
CONNECTED = '{"event":"connected","protocol":"Call","version":"1.0.0"}'


def start(sequence=1, **changes):
    facts = {
        "accountSid": ACCOUNT,
        "streamSid": SID,
        "callSid": CALL,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {},
    } | changes
    return json.dumps({"event": "start", "sequenceNumber": str(sequence), "streamSid": SID, "start": facts})


def media(sequence, track="inbound"):
    body = {"track": track, "chunk": "1", "timestamp": "0", "payload": "/////w=="}
    return json.dumps({"event": "media", "sequenceNumber": str(sequence), "streamSid": SID, "media": body})


def mark(sequence):
    return json.dumps({"event": "mark", "sequenceNumber": str(sequence), "streamSid": SID, "mark": {"name": "m"}})


def dtmf(sequence):
    body = {"track": "inbound_track", "digit": "5"}
    return json.dumps({"event": "dtmf", "sequenceNumber": str(sequence), "streamSid": SID, "dtmf": body})


def stop(sequence):
    return json.dumps({"event": "stop", "sequenceNumber": str(sequence), "streamSid": SID, "stop": {}})


def fed(*texts):
    stream = MediaStream()
    for text in texts:
        stream.receive(text)
    return stream


def test_a_whole_stream():
    stream = fed(CONNECTED, start(1), media(2), dtmf(3), mark(4), media(5), stop(6))
    assert stream.state is State.STOPPED
    assert stream.missing == 0


@pytest.mark.parametrize(
    "texts",
    [
        (start(),),
        (media(1),),
        (CONNECTED, CONNECTED),
        (CONNECTED, media(1)),
        (CONNECTED, mark(1)),
        (CONNECTED, start(1), start(2)),
        (CONNECTED, start(1), CONNECTED),
        (CONNECTED, start(1), stop(2), media(3)),
        (CONNECTED, start(1), stop(2), stop(3)),
    ],
)
def test_messages_out_of_place(texts):
    with pytest.raises(StreamError, match="may not come while") as caught:
        fed(*texts)
    assert caught.value.code == 1002


def test_sequence_numbers_never_go_back():
    with pytest.raises(StreamError, match="sequence number 2 after 3") as caught:
        fed(CONNECTED, start(1), media(3), media(2))
    assert caught.value.code == 1002
    with pytest.raises(StreamError):
        fed(CONNECTED, start(1), media(2), media(2))


def test_gaps_are_counted():
    assert fed(CONNECTED, start(1), media(5), media(6), media(10)).missing == 6


def test_malformed_messages():
    with pytest.raises(StreamError, match="malformed") as caught:
        fed(CONNECTED, start(1), "{")
    assert caught.value.code == 1007


def test_audio_of_another_kind():
    for change in ({"encoding": "audio/opus"}, {"sampleRate": 16000}, {"channels": 2}):
        form = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1} | change
        with pytest.raises(StreamError, match="not mu-law") as caught:
            fed(CONNECTED, start(mediaFormat=form))
        assert caught.value.code == 1003


def test_our_own_voice_on_another_track_is_not_the_caller():
    stream = fed(CONNECTED, start(1))
    assert stream.receive(media(2, track="outbound")) is None
    assert isinstance(stream.receive(media(3)), messages.Media)


@given(st.lists(st.sampled_from([CONNECTED, start(1), "{}", '{"event":"new"}'])), st.lists(st.integers(0, 9)))
def test_any_order_gives_messages_or_a_stream_error(texts, numbers):
    stream = MediaStream()
    later = [kind(number) for number in numbers for kind in (media, mark, dtmf, stop)]
    try:
        for text in [*texts, *later]:
            stream.receive(text)
    except StreamError as error:
        assert error.code in (1002, 1003, 1007)  # noqa: PT017 (there may be no error)
