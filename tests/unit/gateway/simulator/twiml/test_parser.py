from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocelio.gateway.simulator import error_codes
from vocelio.gateway.simulator.error_codes import TwilioSimError
from vocelio.gateway.simulator.twiml.parser import (
    Dial,
    Enqueue,
    Hangup,
    Leave,
    Pause,
    Play,
    Record,
    Redirect,
    Say,
    Stream,
    Target,
    parse,
)


def twiml_document(body: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?><Response>{body}</Response>'.encode()


def stream_document(attributes: str = 'url="wss://a.example/m"', inside: str = "") -> bytes:
    return twiml_document(f"<Connect><Stream {attributes}>{inside}</Stream></Connect>")


def error_code(twiml: bytes) -> int:
    with pytest.raises(TwilioSimError) as caught:
        parse(twiml)
    return caught.value.code


def test_stream_parameters_and_urls():
    verbs = parse(
        twiml_document(
            '<Connect action="/after"><Stream url="wss://a.example/m" name="n" statusCallback="/s">'
            '<Parameter name="token" value="t&amp;1"/></Stream></Connect><Redirect method="POST">/next</Redirect>'
        )
    )
    assert verbs == (
        Stream("wss://a.example/m", {"token": "t&1"}, action="/after", name="n", status_callback="/s"),
        Redirect("/next"),
    )


def test_simple_verbs():
    verbs = parse(
        twiml_document(
            '<Say voice="alice">One <break/>two</Say><Play>/a.mp3</Play><Pause length="3"/><Pause/><Hangup/>'
        )
    )
    assert verbs == (Say("One two"), Play("/a.mp3"), Pause(3), Pause(1), Hangup())


def test_dial_targets_with_whispers():
    (dial,) = parse(
        twiml_document(
            '<Dial action="/dialed" timeout="20" callerId="+13072249663" sequential="true">'
            '<Number url="/whisper">+14155550101</Number><Sip>sip:desk@office.example</Sip></Dial>'
        )
    )
    assert dial == Dial(
        (Target("+14155550101", "/whisper"), Target("sip:desk@office.example")), "/dialed", 20, "+13072249663", True
    )


def test_dial_with_a_number_as_text():
    assert parse(twiml_document("<Dial> +14155550101 </Dial>")) == (Dial((Target("+14155550101"),)),)


def test_record_limits_and_urls():
    (plain,) = parse(twiml_document('<Record action="/a"/>'))
    assert plain == Record(
        "/a", 5, "1234567890*#", 3600, play_beep=True, trim=True, status_callback_events=frozenset({"completed"})
    )
    (record,) = parse(
        twiml_document(
            '<Record action="/a" timeout="3" finishOnKey="#" maxLength="60" playBeep="false" trim="do-not-trim" '
            'recordingStatusCallback="/s" recordingStatusCallbackEvent="completed absent"/>'
        )
    )
    assert record == Record("/a", 3, "#", 60, False, False, "/s", frozenset({"completed", "absent"}))


def test_enqueue_needs_a_name():
    assert parse(twiml_document('<Enqueue action="/a" waitUrl="/w"> sales </Enqueue><Leave/>')) == (
        Enqueue("sales", "/w", "/a"),
        Leave(),
    )


def test_empty_document_has_no_verbs():
    assert parse(twiml_document("")) == ()


@pytest.mark.parametrize(
    ("twiml", "expected"),
    [
        (b"", error_codes.PARSE_FAILURE),
        (b"<Response>", error_codes.PARSE_FAILURE),
        (b"\xff\xfe<", error_codes.PARSE_FAILURE),
        (b'<!DOCTYPE r [<!ENTITY e "x">]><Response><Say>&e;</Say></Response>', error_codes.PARSE_FAILURE),
        (b"<Message/>", error_codes.NOT_A_RESPONSE),
        (twiml_document("<Gather/>"), error_codes.SCHEMA_VALIDATION),
        (twiml_document("<Say/>"), error_codes.SCHEMA_VALIDATION),
        (twiml_document('<Redirect method="GET">/a</Redirect>'), error_codes.SCHEMA_VALIDATION),
        (twiml_document('<Dial callerID="+1">+14155550101</Dial>'), error_codes.SCHEMA_VALIDATION),
        (twiml_document("<Dial/>"), error_codes.SCHEMA_VALIDATION),
        (twiml_document('<Dial timeout="0">+14155550101</Dial>'), error_codes.SCHEMA_VALIDATION),
        (twiml_document('<Dial timeout="soon">+14155550101</Dial>'), error_codes.SCHEMA_VALIDATION),
        (twiml_document("<Dial><Say>hello</Say></Dial>"), error_codes.SCHEMA_VALIDATION),
        (twiml_document("<Connect/>"), error_codes.SCHEMA_VALIDATION),
        (twiml_document("<Record/>"), error_codes.SCHEMA_VALIDATION),
        (twiml_document('<Record action="/a" maxLength="1"/>'), error_codes.SCHEMA_VALIDATION),
        (twiml_document('<Record action="/a" maxLength="14401"/>'), error_codes.SCHEMA_VALIDATION),
        (twiml_document('<Record action="/a" timeout="0"/>'), error_codes.SCHEMA_VALIDATION),
        (twiml_document('<Record action="/a" finishOnKey=""/>'), error_codes.SCHEMA_VALIDATION),
        (twiml_document('<Record action="/a" finishOnKey="x"/>'), error_codes.SCHEMA_VALIDATION),
        (twiml_document('<Record action="/a" playBeep="no"/>'), error_codes.SCHEMA_VALIDATION),
        (twiml_document('<Record action="/a" trim="yes"/>'), error_codes.SCHEMA_VALIDATION),
        (twiml_document('<Record action="/a" transcribe="true"/>'), error_codes.SCHEMA_VALIDATION),
        (twiml_document('<Record action="/a" method="GET"/>'), error_codes.SCHEMA_VALIDATION),
        (twiml_document('<Record action="/a" recordingStatusCallbackMethod="GET"/>'), error_codes.SCHEMA_VALIDATION),
        (twiml_document('<Record action="/a" recordingStatusCallbackEvent="done"/>'), error_codes.SCHEMA_VALIDATION),
        (twiml_document('<Record action="/a"><Say>x</Say></Record>'), error_codes.SCHEMA_VALIDATION),
        (twiml_document("<Enqueue/>"), error_codes.SCHEMA_VALIDATION),
        (twiml_document(f"<Enqueue>{'x' * 65}</Enqueue>"), error_codes.SCHEMA_VALIDATION),
        (twiml_document('<Enqueue waitUrlMethod="GET" waitUrl="/w">x</Enqueue>'), error_codes.SCHEMA_VALIDATION),
        (twiml_document('<Enqueue workflowSid="WW1">x</Enqueue>'), error_codes.SCHEMA_VALIDATION),
        (twiml_document('<Leave reason="x"/>'), error_codes.SCHEMA_VALIDATION),
        (stream_document('url="ws://a.example/m"'), error_codes.STREAM_SCHEME),
        (stream_document('url="wss://a.example/m?token=1"'), error_codes.STREAM_HANDSHAKE),
        (stream_document('url="wss:///m"'), error_codes.STREAM_URL),
        (stream_document('url="wss://[a/m"'), error_codes.STREAM_URL),
        (stream_document('url="wss://a.example/m" track="both_tracks"'), error_codes.STREAM_TRACK),
        (stream_document(inside='<Parameter value="v"/>'), error_codes.SCHEMA_VALIDATION),
        (stream_document(inside=f'<Parameter name="token" value="{"x" * 495}"/>'), error_codes.SCHEMA_VALIDATION),
    ],
)
def test_invalid_twiml_is_rejected_with_twilios_code(twiml, expected):
    assert error_code(twiml) == expected


def test_parameters_just_under_the_limit_are_accepted():
    (verb,) = parse(stream_document(inside=f'<Parameter name="token" value="{"x" * 494}"/>'))
    assert verb == Stream("wss://a.example/m", {"token": "x" * 494})


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: twiml_document(text))))
def test_any_document_raises_at_most_a_twilio_sim_error(twiml):
    with suppress(TwilioSimError):
        parse(twiml)
