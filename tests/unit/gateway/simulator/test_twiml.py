from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocelio.gateway.simulator import faults
from vocelio.gateway.simulator.faults import CarrierError
from vocelio.gateway.simulator.twiml import (
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


def document(body: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?><Response>{body}</Response>'.encode()


def stream(attributes: str = 'url="wss://a.example/m"', inside: str = "") -> bytes:
    return document(f"<Connect><Stream {attributes}>{inside}</Stream></Connect>")


def code(twiml: bytes) -> int:
    with pytest.raises(CarrierError) as caught:
        parse(twiml)
    return caught.value.code


def test_a_stream_has_its_parameters_and_urls():
    verbs = parse(
        document(
            '<Connect action="/after"><Stream url="wss://a.example/m" name="n" statusCallback="/s">'
            '<Parameter name="token" value="t&amp;1"/></Stream></Connect><Redirect method="POST">/next</Redirect>'
        )
    )
    assert verbs == (
        Stream("wss://a.example/m", {"token": "t&1"}, action="/after", name="n", status_callback="/s"),
        Redirect("/next"),
    )


def test_the_simple_verbs():
    verbs = parse(
        document('<Say voice="alice">One <break/>two</Say><Play>/a.mp3</Play><Pause length="3"/><Pause/><Hangup/>')
    )
    assert verbs == (Say("One two"), Play("/a.mp3"), Pause(3), Pause(1), Hangup())


def test_a_dial_has_targets_with_whispers():
    (dial,) = parse(
        document(
            '<Dial action="/dialed" timeout="20" callerId="+13072249663" sequential="true">'
            '<Number url="/whisper">+14155550101</Number><Sip>sip:desk@office.example</Sip></Dial>'
        )
    )
    assert dial == Dial(
        (Target("+14155550101", "/whisper"), Target("sip:desk@office.example")), "/dialed", 20, "+13072249663", True
    )


def test_a_dial_may_hold_the_number_itself():
    assert parse(document("<Dial> +14155550101 </Dial>")) == (Dial((Target("+14155550101"),)),)


def test_a_record_has_its_limits_and_urls():
    (plain,) = parse(document('<Record action="/a"/>'))
    assert plain == Record("/a", 5, "1234567890*#", 3600, beep=True, trim=True, events=frozenset({"completed"}))
    (record,) = parse(
        document(
            '<Record action="/a" timeout="3" finishOnKey="#" maxLength="60" playBeep="false" trim="do-not-trim" '
            'recordingStatusCallback="/s" recordingStatusCallbackEvent="completed absent"/>'
        )
    )
    assert record == Record("/a", 3, "#", 60, False, False, "/s", frozenset({"completed", "absent"}))


def test_a_queue_has_a_name():
    assert parse(document('<Enqueue action="/a" waitUrl="/w"> sales </Enqueue><Leave/>')) == (
        Enqueue("sales", "/w", "/a"),
        Leave(),
    )


def test_an_empty_document_has_no_verbs():
    assert parse(document("")) == ()


@pytest.mark.parametrize(
    ("twiml", "expected"),
    [
        (b"", faults.PARSE_FAILURE),
        (b"<Response>", faults.PARSE_FAILURE),
        (b"\xff\xfe<", faults.PARSE_FAILURE),
        (b'<!DOCTYPE r [<!ENTITY e "x">]><Response><Say>&e;</Say></Response>', faults.PARSE_FAILURE),
        (b"<Message/>", faults.NOT_A_RESPONSE),
        (document("<Gather/>"), faults.SCHEMA),
        (document("<Say/>"), faults.SCHEMA),
        (document('<Redirect method="GET">/a</Redirect>'), faults.SCHEMA),
        (document('<Dial callerID="+1">+14155550101</Dial>'), faults.SCHEMA),
        (document("<Dial/>"), faults.SCHEMA),
        (document('<Dial timeout="0">+14155550101</Dial>'), faults.SCHEMA),
        (document('<Dial timeout="soon">+14155550101</Dial>'), faults.SCHEMA),
        (document("<Dial><Say>hello</Say></Dial>"), faults.SCHEMA),
        (document("<Connect/>"), faults.SCHEMA),
        (document("<Record/>"), faults.SCHEMA),
        (document('<Record action="/a" maxLength="1"/>'), faults.SCHEMA),
        (document('<Record action="/a" maxLength="14401"/>'), faults.SCHEMA),
        (document('<Record action="/a" timeout="0"/>'), faults.SCHEMA),
        (document('<Record action="/a" finishOnKey=""/>'), faults.SCHEMA),
        (document('<Record action="/a" finishOnKey="x"/>'), faults.SCHEMA),
        (document('<Record action="/a" playBeep="no"/>'), faults.SCHEMA),
        (document('<Record action="/a" trim="yes"/>'), faults.SCHEMA),
        (document('<Record action="/a" transcribe="true"/>'), faults.SCHEMA),
        (document('<Record action="/a" method="GET"/>'), faults.SCHEMA),
        (document('<Record action="/a" recordingStatusCallbackMethod="GET"/>'), faults.SCHEMA),
        (document('<Record action="/a" recordingStatusCallbackEvent="done"/>'), faults.SCHEMA),
        (document('<Record action="/a"><Say>x</Say></Record>'), faults.SCHEMA),
        (document("<Enqueue/>"), faults.SCHEMA),
        (document(f"<Enqueue>{'x' * 65}</Enqueue>"), faults.SCHEMA),
        (document('<Enqueue waitUrlMethod="GET" waitUrl="/w">x</Enqueue>'), faults.SCHEMA),
        (document('<Enqueue workflowSid="WW1">x</Enqueue>'), faults.SCHEMA),
        (document('<Leave reason="x"/>'), faults.SCHEMA),
        (stream('url="ws://a.example/m"'), faults.STREAM_SCHEME),
        (stream('url="wss://a.example/m?token=1"'), faults.STREAM_HANDSHAKE),
        (stream('url="wss:///m"'), faults.STREAM_URL),
        (stream('url="wss://[a/m"'), faults.STREAM_URL),
        (stream('url="wss://a.example/m" track="both_tracks"'), faults.STREAM_TRACK),
        (stream(inside='<Parameter value="v"/>'), faults.SCHEMA),
        (stream(inside=f'<Parameter name="token" value="{"x" * 495}"/>'), faults.SCHEMA),
    ],
)
def test_what_twilio_would_not_play_is_refused_with_its_code(twiml, expected):
    assert code(twiml) == expected


def test_parameters_just_under_the_limit_are_accepted():
    (verb,) = parse(stream(inside=f'<Parameter name="token" value="{"x" * 494}"/>'))
    assert verb == Stream("wss://a.example/m", {"token": "x" * 494})


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: document(text))))
def test_nothing_but_a_carrier_error_comes_of_any_document(twiml):
    with suppress(CarrierError):
        parse(twiml)
