"""The messages of Twilio's documentation are parsed; everything else is rejected or ignored."""

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocelio.gateway.media import messages

STREAM, ACCOUNT, CALL = "MZ" + "1" * 32, "AC" + "2" * 32, "CA" + "3" * 32


def test_connected():
    assert messages.parse('{"event":"connected","protocol":"Call","version":"1.0.0"}') == messages.Connected(
        "Call", "1.0.0"
    )


def test_start():
    message = messages.parse(
        json.dumps(
            {
                "event": "start",
                "sequenceNumber": "1",
                "streamSid": STREAM,
                "start": {
                    "accountSid": ACCOUNT,
                    "streamSid": STREAM,
                    "callSid": CALL,
                    "tracks": ["inbound"],
                    "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                    "customParameters": {"token": "secret"},
                },
            }
        )
    )
    assert isinstance(message, messages.Start)
    assert message.sequence_number == 1
    assert message.start.call_sid == CALL
    assert message.start.media_format == messages.MediaFormat("audio/x-mulaw", 8000, 1)
    assert message.start.custom_parameters == {"token": "secret"}


def test_media():
    payload = base64.b64encode(bytes(range(160))).decode()
    message = messages.parse(
        f'{{"event":"media","sequenceNumber":"3","streamSid":"{STREAM}",'
        f'"media":{{"track":"inbound","chunk":"1","timestamp":"160","payload":"{payload}"}}}}'
    )
    assert isinstance(message, messages.Media)
    assert message.media.payload == bytes(range(160))
    assert (message.sequence_number, message.media.timestamp) == (3, 160)


def test_dtmf_mark_and_stop():
    dtmf = messages.parse(
        f'{{"event":"dtmf","streamSid":"{STREAM}","sequenceNumber":"5","dtmf":{{"track":"inbound_track","digit":"1"}}}}'
    )
    mark = messages.parse(f'{{"event":"mark","sequenceNumber":"4","streamSid":"{STREAM}","mark":{{"name":"p1.end"}}}}')
    stop = messages.parse(
        f'{{"event":"stop","sequenceNumber":"6","streamSid":"{STREAM}",'
        f'"stop":{{"accountSid":"{ACCOUNT}","callSid":"{CALL}"}}}}'
    )
    assert isinstance(dtmf, messages.Dtmf)
    assert dtmf.dtmf.digit == "1"
    assert isinstance(mark, messages.Mark)
    assert mark.mark.name == "p1.end"
    assert stop == messages.Stop(6)


def test_unknown_event_is_ignored():
    assert messages.parse('{"event":"speech","sequenceNumber":"9"}') is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"media"',
        '{"event":7}',
        '{"no":"event"}',
        '{"event":"media"}',
        '{"event":"media","sequenceNumber":"x","media":{"payload":"AAAA"}}',
        '{"event":"media","sequenceNumber":"1","media":{"payload":"A"}}',
        '{"event":"media","sequenceNumber":"1","media":{"payload":"!!!!"}}',
        '{"event":"media","sequenceNumber":"1","media":{"payload":""}}',
        '{"event":"dtmf","sequenceNumber":"1","dtmf":{"digit":"12"}}',
        '{"event":"mark","sequenceNumber":"1","mark":{"name":"%s"}}' % ("x" * 200),
        '{"event":"start","sequenceNumber":"1","streamSid":"no sid","start":{}}',
        "[" * 10_000,
        b"\xff\xfe",
    ],
)
def test_malformed_message_is_rejected(text):
    with pytest.raises(messages.MalformedMessage):
        messages.parse(text)


@given(st.one_of(st.binary(), st.text(), st.recursive(st.none() | st.text(), st.lists).map(json.dumps)))
def test_any_text_is_a_message_or_malformed(text):
    with suppress(messages.MalformedMessage):
        messages.parse(text)


@given(st.binary(min_size=1, max_size=4000))
def test_audio_is_formatted_for_twilio(sound):
    message = json.loads(messages.media(STREAM, sound))
    assert message == {
        "event": "media",
        "streamSid": STREAM,
        "media": {"payload": base64.b64encode(sound).decode()},
    }


def test_marks_and_clear_are_formatted_for_twilio():
    assert json.loads(messages.mark(STREAM, 'a "name"')) == {
        "event": "mark",
        "streamSid": STREAM,
        "mark": {"name": 'a "name"'},
    }
    assert json.loads(messages.clear(STREAM)) == {"event": "clear", "streamSid": STREAM}
