"""Call log: encoding, replay on the same version, redaction; transcripts."""

import json
from typing import Any

import msgspec
import pytest

from vocelio.engine import events
from vocelio.engine.actions import Request, Speak, StartTimer, Transfer
from vocelio.engine.call_info import CallInfo, TenantInfo
from vocelio.engine.call_log import (
    CallLog,
    CallLogError,
    Exchange,
    build_header,
    decode_log,
    encode_line,
    encode_log,
    equal_as_logged,
    redact_exchange,
    replay,
    step,
)
from vocelio.engine.errors import EventError
from vocelio.engine.flow import FlowVersion
from vocelio.engine.replay.compare import compare, format_report
from vocelio.engine.replay.transcript import build_transcript, format_transcript
from vocelio.engine.session import FlowSession
from vocelio.engine.validation import loader
from vocelio.engine.voice import Voice

CALL_INFO = CallInfo("CA1", "+13105550100", "+13105550199", TenantInfo("t", "Harbour Dental"), 1_772_560_800_000_000)


def pin_flow(**fields: Any) -> FlowVersion:
    pin = {"type": "collect", "expect": "digits", "prompt": "Your PIN?", "sensitive": True, "save_as": "pin"}
    pin |= {"max_digits": 2, "exits": dict.fromkeys(("done", "no_input", "no_match"), "check")}
    check = {"type": "request", "method": "GET", "url": "https://a.example/{{ pin }}", "exits": {"ok": "bye"}}
    nodes = {"pin": pin | fields, "check": check, "bye": {"type": "hangup", "text": "Your PIN is {{ pin }}."}}
    return loader.load_flow(json.dumps({"name": "f", "start": "pin", "nodes": nodes}).encode())


CALL: list[events.AnyEvent] = [
    events.CallStarted(0.0),
    events.PromptFinished(1.0, "p3"),
    events.KeyPressed(2.0, "4"),
    events.KeyPressed(2.5, "2"),
    events.RequestEnded(3.0, "h6", "ok", 200, {"a": [1, 2.5, None]}),
]


def make_log(version: FlowVersion, call: list[events.AnyEvent] = CALL) -> CallLog:
    """Make a log as the gateway does, event by event."""
    session = FlowSession(version, CALL_INFO)
    exchanges = list[Exchange]()
    for event in call:
        sensitive = session.input_is_sensitive
        exchanges.append(redact_exchange(step(session, event), sensitive))
    return CallLog(build_header(version, CALL_INFO), tuple(exchanges))


def test_log_written_line_by_line_can_be_decoded() -> None:
    log = make_log(pin_flow(sensitive=False))
    lines = [encode_line(log.header), *map(encode_line, log.exchanges)]
    assert b"".join(lines) == encode_log(log)
    assert json.loads(lines[0])["call_info"]["started_at"] == CALL_INFO.started_at
    assert decode_log(encode_log(log)).header == log.header
    assert decode_log(encode_log(log)).complete
    assert [exchange.event for exchange in decode_log(encode_log(log)).exchanges] == CALL


def test_truncated_last_line_is_ignored() -> None:
    result = decode_log(encode_log(make_log(pin_flow()))[:-10])
    assert (result.complete, len(result.exchanges)) == (False, len(CALL) - 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "line 1: not the header of a call log"),
        (b"{}\n", "line 1: not the header of a call log"),
        (b"[" * 100_000, "line 1: not the header of a call log"),
        (
            encode_line(msgspec.structs.replace(build_header(pin_flow(), CALL_INFO), format="other")),
            "line 1: the format is `other`",
        ),
        (encode_line(build_header(pin_flow(), CALL_INFO)) + b"x\n", "line 2: JSON is malformed"),
        (
            encode_line(build_header(pin_flow(), CALL_INFO)) + b'{"event":{"event":"nothing"}}\n',
            "line 2: Invalid value 'nothing'",
        ),
    ],
)
def test_invalid_log_is_rejected(text: bytes, expected: str) -> None:
    with pytest.raises(CallLogError) as raised:
        decode_log(text)
    assert str(raised.value).startswith(expected)


def test_replay_reproduces_the_exchanges() -> None:
    version = pin_flow(sensitive=False)
    exchanges = replay(version, CALL_INFO, CALL)
    assert [exchange.event for exchange in exchanges] == CALL
    assert exchanges == list(make_log(version).exchanges)
    with pytest.raises(EventError):
        replay(version, CALL_INFO, [CALL[1], CALL[0]])


def test_comparison_with_the_same_version_compares_actions() -> None:
    version = pin_flow(sensitive=False)
    log = make_log(version)
    assert format_report(log, compare(log, version)).startswith("CA1: the same actions, 5 events, 1 turns.")
    forged = list(log.exchanges)
    forged[3] = Exchange(forged[3].event, forged[3].actions[:-1])
    comparison = compare(CallLog(log.header, tuple(forged)), version)
    assert (comparison.verdict, comparison.differences[0].exchange_index, comparison.differences[0].node) == (
        "differs",
        3,
        "check",
    )
    report = format_report(log, comparison)
    assert report.startswith("CA1: NOT REPRODUCED")
    assert report.endswith("The comparison ends here: 1 recorded event not compared.")


def test_sensitive_input_is_redacted_and_ends_the_replay() -> None:
    version = pin_flow()
    log = make_log(version)
    text = encode_log(log).decode()
    assert [exchange.redacted for exchange in log.exchanges] == [False, False, True, True, False]
    assert "https://a.example" not in text
    assert "Your PIN is" not in text
    assert not {"4", "2"} & {
        exchange.event.key for exchange in log.exchanges if isinstance(exchange.event, events.KeyPressed)
    }
    comparison = compare(decode_log(encode_log(log)), version)
    assert (comparison.verdict, len(comparison.exchanges)) == ("redacted", 2)
    assert "up to a redacted sensitive answer" in format_report(log, comparison)


def test_sensitive_actions_are_redacted() -> None:
    heard = events.TranscriptReceived(1.0, "l1", "four two", True)
    given = (
        Speak("p1", "42", Voice(), sensitive=True),
        Request("h1", "k", "GET", "https://a.example/42", {"a": "42"}, "42", sensitive=True),
        Transfer("x1", department="d", whisper="42", sensitive=True),
    )
    hidden = redact_exchange(Exchange(heard, given), True)
    assert "42" not in encode_line(hidden).decode()
    assert "four" not in encode_line(hidden).decode()
    assert redact_exchange(Exchange(heard, ()), False) == Exchange(heard, ())


def test_equality_is_that_of_decoded_logs() -> None:
    assert equal_as_logged([StartTimer("t", 3600)], [StartTimer("t", 3600.0)])
    assert not equal_as_logged([StartTimer("t", 3600)], [StartTimer("t", 3601)])


def test_transcript_of_a_call() -> None:
    call = [*CALL, events.PromptFinished(9.0, "p8")]
    assert format_transcript(build_transcript(replay(pin_flow(sensitive=False), CALL_INFO, call))).splitlines() == [
        '    0.0  pin            flow   "Your PIN?"',
        "    2.0  pin            caller presses 4",
        "    2.5  pin            caller presses 2",
        "    2.5  check                 GET https://a.example/42",
        "    3.0  check                 -> ok 200",
        '    3.0  bye            flow   "Your PIN is 42."',
        "    9.0  bye                   the call ends: completed",
    ]


def test_transcript_of_every_event() -> None:
    listed: list[tuple[events.AnyEvent, str]] = [
        (events.TranscriptReceived(1.0, "l", "", True), "caller (not understood)"),
        (events.TranscriptReceived(1.0, "l", "so", False), 'caller "so" ...'),
        (events.TranscriptReceived(1.0, "l", "so", True, 0.25), 'caller "so" (confidence 0.25)'),
        (events.PromptInterrupted(1.0, "p", 0.5), "caller (interrupts after 0.5 s)"),
        (events.TimerFired(1.0, "t"), "(timer fires)"),
        (events.ListeningFailed(1.0, "l"), "(speech recognition fails)"),
        (events.TransferEnded(1.0, "x", "busy"), "-> busy"),
        (events.QueueEnded(1.0, "q", "callback"), "-> callback"),
        (events.RequestEnded(1.0, "h", "timeout"), "-> timeout"),
        (events.RecordingEnded(1.0, "r", 2.5), "-> 2.5 s recorded"),
        (events.OperatorCommand(1.0, "jump", "desk"), "operator: jump desk"),
        (events.CallResumed(1.0), "the stream was lost; the call resumes"),
        (events.CallEnded(1.0), "caller (hangs up)"),
    ]
    for event, words in listed:
        transcript = build_transcript([Exchange(event, (StartTimer("t", 1.0),))])
        assert [" ".join(str(line).split()) for line in transcript] == [f"1.0 {words}"]
    assert build_transcript([Exchange(events.SpeechStarted(1.0)), Exchange(events.TimerFired(1.0, "t"))]) == []
