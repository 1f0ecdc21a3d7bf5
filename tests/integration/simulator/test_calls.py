"""Complete calls: webhooks, verbs and endings."""

import asyncio
import socket

import pytest
from starlette.responses import PlainTextResponse, Response

from tests.integration.simulator.conftest import FROM, TO
from tests.support.scripted_gateway import ACCOUNT, PUBLIC, STREAM, TOKEN, ScriptedGateway, ScriptedMedia, serve, tone
from vocelio.codecs import wav
from vocelio.gateway.simulator import error_codes
from vocelio.gateway.simulator.caller.script import HangUp, PlayAudio
from vocelio.gateway.simulator.events import CallBridged, CallEnded, CallPlaced, DialStarted, StreamConnected
from vocelio.gateway.simulator.simulator import TwilioSimulator
from vocelio.gateway.simulator.verbs.dial import Callee

VOICE, STATUS = "/twilio/voice", "/twilio/status"


async def greet_and_close(media: ScriptedMedia) -> None:
    await media.play(tone(0.2), "done")
    await media.wait_for_mark("done")
    await media.close()


async def greet_and_stay(media: ScriptedMedia) -> None:
    await media.play(tone(0.2))
    await media.wait_for_close()


def dial_twiml(inside: str = "<Number>+14155550101</Number>", more: str = "") -> str:
    return f'<Dial action="/dialed" {more}>{inside}</Dial><Say>never</Say>'


async def test_webhooks_of_a_call(place_call):
    peer = ScriptedGateway({VOICE: STREAM}, greet_and_stay)
    report = await place_call(peer, [HangUp()])
    assert peer.requested_paths == [VOICE, STATUS]
    assert peer.form_of(VOICE) == {
        "CallSid": report.call_sid,
        "AccountSid": ACCOUNT,
        "ApiVersion": "2010-04-01",
        "Direction": "inbound",
        "From": FROM,
        "Caller": FROM,
        "To": TO,
        "Called": TO,
        "CallStatus": "ringing",
    }
    assert peer.form_of(STATUS)["CallStatus"] == "completed"
    assert peer.form_of(STATUS)["CallDuration"] in ("1", "2")
    assert [(webhook.path, webhook.status) for webhook in report.webhooks] == [(VOICE, 200), (STATUS, 204)]


async def test_next_verb_follows_a_closed_socket(place_call):
    peer = ScriptedGateway(
        {VOICE: STREAM + "<Redirect>/twilio/continue</Redirect>", "/twilio/continue": "<Say>Bye.</Say><Hangup/>"},
        greet_and_close,
    )
    report = await place_call(peer)
    assert report.ending == "hangup"
    assert report.say_texts == ("Bye.",)
    assert peer.form_of("/twilio/continue")["CallStatus"] == "in-progress"


async def test_action_of_connect_replaces_the_next_verb(place_call):
    peer = ScriptedGateway(
        {VOICE: STREAM.replace("<Connect>", '<Connect action="/after">'), "/after": ""}, greet_and_close
    )
    report = await place_call(peer)
    assert report.ending == "twiml"
    assert "/after" in peer.requested_paths


async def test_call_with_two_streams_is_recorded_on_one_clock(place_call, tmp_path):
    peer = ScriptedGateway({VOICE: STREAM + STREAM}, greet_and_close, greet_and_stay)
    word = PlayAudio(audio=tone(0.2), text="hello")
    path = tmp_path / "call.wav"
    report = await place_call(peer, [word, HangUp()], recording_path=path, max_seconds=1.5)
    assert [stream.closed_by for stream in report.streams] == ["server", "caller"]
    assert report.turns[0].text == "hello"
    pcm, rate = wav.read(path)
    assert rate == 8000
    assert len(pcm) // 2 == len(report.heard_audio)


async def test_busy_callee_requests_the_action_of_dial(place_call):
    peer = ScriptedGateway({VOICE: dial_twiml(), "/dialed": "<Say>They are busy.</Say>"})
    report = await place_call(peer, callees={"+14155550101": "busy"})
    assert peer.form_of("/dialed")["DialCallStatus"] == "busy"
    assert peer.form_of("/dialed")["DialCallDuration"] == "0"
    assert report.say_texts == ("They are busy.",)
    assert [(dialed.target, dialed.outcome) for dialed in report.dial_results] == [("+14155550101", "busy")]


async def test_answering_callee_hears_the_whisper(place_call):
    number = '<Number url="/whisper">+14155550101</Number>'
    peer = ScriptedGateway(
        {VOICE: dial_twiml(number, f'callerId="{TO}"'), "/whisper": "<Say>A sales call.</Say>", "/dialed": "<Hangup/>"}
    )
    events = []
    report = await place_call(
        peer, callees=[Callee("answered", ring_seconds=0.05, talk_seconds=0.1)], on_event=events.append
    )
    (dialed,) = report.dial_results
    assert (dialed.outcome, dialed.caller_id, dialed.whisper_text) == ("answered", TO, "A sales call.")
    assert peer.form_of("/whisper")["ParentCallSid"] == report.call_sid
    assert peer.form_of("/whisper")["CallSid"] != report.call_sid
    assert peer.form_of("/dialed")["DialCallStatus"] == "completed"
    assert peer.form_of("/dialed")["DialCallDuration"] == "1"
    assert [type(event) for event in events] == [CallPlaced, DialStarted, CallBridged, CallEnded]
    assert report.ending == "hangup"


async def test_invalid_whisper_fails_the_transfer(place_call):
    peer = ScriptedGateway(
        {VOICE: dial_twiml('<Number url="/whisper">+14155550101</Number>'), "/whisper": "<Whisper/>", "/dialed": ""}
    )
    report = await place_call(peer)
    assert peer.form_of("/dialed")["DialCallStatus"] == "failed"
    assert [error.code for error in report.errors] == [error_codes.SCHEMA_VALIDATION]


async def test_targets_are_dialed_simultaneously_or_in_turn(place_call):
    numbers = "<Number>+14155550101</Number><Number>+14155550102</Number><Sip>sip:desk@office.example</Sip>"
    dials = {"+14155550101": "no-answer", "+14155550102": Callee(ring_seconds=0.1, talk_seconds=0.0)}
    for more, rung in [("", 3), ('sequential="true"', 2)]:
        peer = ScriptedGateway({VOICE: dial_twiml(numbers, more), "/dialed": ""})
        report = await place_call(peer, callees=dials)
        assert len(report.dial_results) == rung
        assert [dialed.target for dialed in report.dial_results if dialed.outcome == "answered"] == ["+14155550102"]


async def test_timeout_of_dial_limits_ringing(place_call):
    peer = ScriptedGateway({VOICE: dial_twiml(more='timeout="1"'), "/dialed": ""})
    report = await place_call(peer, callees=[Callee(ring_seconds=20)])
    assert report.dial_results[0].outcome == "no-answer"
    assert report.seconds < 10


async def test_next_verb_follows_a_dial_without_an_action(place_call):
    peer = ScriptedGateway({VOICE: "<Dial>+14155550101</Dial><Say>Back again.</Say>"})
    report = await place_call(peer, callees=["failed"])
    assert report.say_texts == ("Back again.",)


@pytest.mark.parametrize("twiml", ["<Dial>12</Dial>", '<Dial callerId="me">+14155550101</Dial>'])
async def test_invalid_dial_ends_the_call(place_call, twiml):
    report = await place_call(ScriptedGateway({VOICE: twiml}))
    assert report.ending == "error"
    assert report.errors[0].code in (error_codes.DIAL_NUMBER, error_codes.DIAL_CALLER_ID)


@pytest.mark.parametrize(
    ("page", "code"),
    [
        (Response("no", status_code=403), error_codes.HTTP_RETRIEVAL),
        (Response(status_code=302, headers={"Location": "/elsewhere"}), error_codes.HTTP_RETRIEVAL),
        (PlainTextResponse("hello"), error_codes.CONTENT_TYPE),
        (Response("<Response>", media_type="text/xml"), error_codes.PARSE_FAILURE),
        (Response(" " * 70_000, media_type="text/xml"), error_codes.BODY_TOO_LARGE),
        ("<Connect><Stream url='ws://gateway.example/media'/></Connect>", error_codes.STREAM_SCHEME),
        ("<Gather/>", error_codes.SCHEMA_VALIDATION),
    ],
)
async def test_invalid_webhook_response_ends_the_call(place_call, page, code):
    peer = ScriptedGateway({VOICE: page})
    report = await place_call(peer)
    assert report.ending == "error"
    assert [error.code for error in report.errors] == [code]
    assert peer.form_of(STATUS)["CallDuration"] == "0"
    assert report.heard_audio.strip(b"\xff") == b""


async def test_fallback_url_is_requested_when_the_webhook_fails(place_call):
    peer = ScriptedGateway({VOICE: Response(status_code=500), "/fallback": "<Say>Sorry.</Say>"})
    report = await place_call(peer, fallback="/fallback")
    assert report.ending == "twiml"
    assert report.say_texts == ("Sorry.",)
    assert peer.form_of("/fallback")["ErrorCode"] == "11200"
    assert peer.form_of("/fallback")["ErrorUrl"] == PUBLIC + VOICE


async def test_redirect_loop_is_ended(place_call):
    report = await place_call(ScriptedGateway({VOICE: f"<Redirect>{VOICE}</Redirect>"}))
    assert report.ending == "error"
    assert report.errors[0].code == error_codes.TOO_MANY_REDIRECTS


async def test_unreachable_server_is_tried_twice(refusing_origin):
    async with TwilioSimulator(refusing_origin, PUBLIC, ACCOUNT, TOKEN) as carrier:
        report = await carrier.call(TO, FROM)
    assert report.ending == "error"
    # the voice webhook and the status callback
    assert [error.code for error in report.errors] == [error_codes.HTTP_CONNECTION] * 2


async def test_reset_connection_is_retried_with_the_same_token():
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        if len(asked) > 1:
            body = b"<Response/>"
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, TwilioSimulator(origin, PUBLIC, ACCOUNT, TOKEN) as carrier:
        report = await carrier.call(TO, FROM)
    assert report.ending == "twiml"
    first, second, _ = [
        next(line for line in request.split(b"\r\n") if line.startswith(b"I-Twilio")) for request in asked
    ]
    assert first == second


async def test_refused_socket_and_failed_handshake_have_different_codes():
    async def script(media: ScriptedMedia) -> None:
        raise AssertionError("no stream is ever opened")

    peer = ScriptedGateway({VOICE: STREAM}, script)
    async with serve(peer), TwilioSimulator(peer.origin, PUBLIC, ACCOUNT, TOKEN) as carrier:
        ticket = await carrier.start_call(TO, FROM)
    async with TwilioSimulator(peer.origin, PUBLIC, ACCOUNT, TOKEN) as carrier:
        with pytest.raises(error_codes.TwilioSimError) as refused:
            await carrier.stream(ticket, b"", 1.0)
    assert refused.value.code == error_codes.STREAM_REFUSED


async def test_cancelled_call_leaves_no_tasks():
    connected = asyncio.Event()
    peer = ScriptedGateway({VOICE: STREAM}, greet_and_stay)

    def watch(event) -> None:
        if isinstance(event, StreamConnected):
            connected.set()

    async with serve(peer):
        before = asyncio.all_tasks()
        async with TwilioSimulator(peer.origin, PUBLIC, ACCOUNT, TOKEN) as carrier:
            call = asyncio.create_task(carrier.call(TO, FROM, on_event=watch))
            await connected.wait()
            call.cancel()
            await asyncio.wait([call])
        assert call.cancelled()
        assert [task for task in asyncio.all_tasks() - before if "uvicorn" not in repr(task)] == []
    assert peer.medias[0].messages[-1]["event"] == "stop"


async def test_load_report_counts_received_messages():
    async def echo(media: ScriptedMedia) -> None:
        while True:
            message = await media.receive()
            if message["event"] == "media":
                await media.send("media", media={"payload": message["media"]["payload"]})

    peer = ScriptedGateway({VOICE: STREAM}, echo, echo)
    async with serve(peer), TwilioSimulator(peer.origin, PUBLIC, ACCOUNT, TOKEN) as carrier:
        tickets = [await carrier.start_call(TO, FROM), carrier.bare_stream("wss://gateway.example/echo")]
        reports = await asyncio.gather(*(carrier.stream(ticket, tone(0.1), 1.0) for ticket in tickets))
    for report in reports:
        assert report.frames_sent == 50
        assert report.media_messages >= 40
        assert report.errors == ()
        assert report.stream_report.closed_by == "caller"
    starts = [media.messages[1]["start"]["customParameters"] for media in peer.medias]
    assert sorted(starts, key=len) == [{}, {"token": "t1"}]


@pytest.mark.parametrize("server", ["https://gateway.example", "127.0.0.1:8080"])
def test_server_must_be_an_http_origin(server):
    with pytest.raises(ValueError, match="not an http:// origin"):
        TwilioSimulator(server, PUBLIC, ACCOUNT, TOKEN)


@pytest.fixture
def refusing_origin():
    """A reserved port at which no server listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
