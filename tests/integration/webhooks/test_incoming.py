"""Webhooks over real HTTP: signatures, repeated requests, transfers, unauthorized access."""

import re
from xml.etree import ElementTree

import aiohttp
import pytest

from tests.support.running_gateway import ACCOUNT, CALLER, NUMBER, PUBLIC_URL, TOKEN, running_gateway
from vocelio.gateway.simulator.signing import Signer
from vocelio.gateway.simulator.simulator import TwilioSimulator
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer

FLOW = {
    "name": "Ring",
    "start": "ring",
    "nodes": {
        "ring": {"type": "transfer", "department": "support", "exits": {"busy": "bye", "no_answer": "bye"}},
        "bye": {"type": "hangup", "text": "Nobody is there. Goodbye."},
    },
}
CALL = "CA" + "7" * 32


@pytest.fixture
async def live_gateway():
    async with running_gateway(FLOW, ScriptedRecognizer(), ToneSynthesizer()) as running:
        yield running


async def post_voice(served, path, *, signature=None, token=TOKEN, call=CALL, **fields):
    form = {"AccountSid": ACCOUNT, "CallSid": call, "From": CALLER, "To": NUMBER, **fields}
    headers = Signer(token).sign_form(PUBLIC_URL + path, form)
    if signature is not None:
        headers = {"X-Twilio-Signature": signature}
    url = served.origin + path
    async with aiohttp.ClientSession() as session, session.post(url, data=form, headers=headers) as answer:
        return answer.status, await answer.text()


async def test_incoming_call_is_connected_to_a_stream_with_a_token(live_gateway):
    status, text = await post_voice(live_gateway, "/twilio/voice")
    stream = ElementTree.fromstring(text).find("Connect/Stream")
    assert status == 200
    assert stream.get("url") == f"wss://gateway.example/twilio/media/{ACCOUNT}"
    assert len(stream.find("Parameter").get("value")) >= 32
    assert (
        ElementTree.fromstring(text).find("Redirect").text
        == f"{PUBLIC_URL}/twilio/continue?generation=0&stream_attempt=0"
    )


async def test_repeated_voice_request_starts_one_call(live_gateway):
    first, second = await post_voice(live_gateway, "/twilio/voice"), await post_voice(live_gateway, "/twilio/voice")
    tokenless = re.compile('value="[^"]*"')
    assert tokenless.sub("", first[1]) == tokenless.sub("", second[1])


@pytest.mark.parametrize("path", ["voice", "continue", "dialed", "whisper", "status"])
@pytest.mark.parametrize("signature", ["", "wrong", "other token"])
async def test_unsigned_request_is_forbidden(live_gateway, path, signature):
    wrong = {"token": "another token"} if signature == "other token" else {"signature": signature}
    status, text = await post_voice(live_gateway, f"/twilio/{path}", **wrong)
    assert status == 403
    assert TOKEN not in text
    assert live_gateway.bus.events == []


async def test_unsigned_request_after_a_signed_one_has_no_effect(live_gateway):
    status, _ = await post_voice(live_gateway, "/twilio/voice", signature="wrong")
    assert status == 403
    status, text = await post_voice(live_gateway, "/twilio/continue")
    assert status == 200
    assert "not in service" in text, "the forbidden call is unknown"


async def test_call_to_an_unknown_number_hears_a_message(live_gateway):
    _, text = await post_voice(live_gateway, "/twilio/voice", To="+13072240000")
    verbs = [verb.tag for verb in ElementTree.fromstring(text)]
    assert verbs == ["Say", "Hangup"]


async def test_incomplete_body_is_a_bad_request(live_gateway):
    form = {"AccountSid": ACCOUNT}
    headers = Signer(TOKEN).sign_form(f"{PUBLIC_URL}/twilio/voice", form)
    async with aiohttp.ClientSession() as session:
        url = f"{live_gateway.origin}/twilio/voice"
        async with session.post(url, data=form, headers=headers) as answer:
            assert answer.status == 400
            assert (await answer.json())["detail"] == "the form has no CallSid"
        async with session.post(url, data=b"x" * 100_000, headers=headers) as answer:
            assert answer.status == 400


async def test_department_numbers_are_rung_in_sequence_and_the_flow_continues(live_gateway):
    report = await live_gateway.call(callees=["busy", "no-answer"])
    assert [(dialed.target, dialed.outcome) for dialed in report.dial_results] == [
        ("+13105550113", "busy"),
        ("+13105550114", "no-answer"),
    ]
    assert live_gateway.bus.data_of("transfer.ended") == [{"result": "no_answer", "duration_seconds": 0.0}]
    assert [event["text"] for event in live_gateway.bus.data_of("prompt.started")] == ["Nobody is there. Goodbye."]
    assert live_gateway.bus.data_of("call.ended")[0]["outcome"] == "completed"
    assert (report.ending, report.errors) == ("hangup", ())


async def test_answered_transfer_ends_the_call(live_gateway):
    report = await live_gateway.call(callees=["busy", "answered"])
    assert [dialed.outcome for dialed in report.dial_results] == ["busy", "answered"]
    (ended,) = live_gateway.bus.data_of("call.ended")
    assert (ended["outcome"], ended["department"]) == ("transferred", "support")
    assert report.errors == ()


async def test_repeated_dial_result_is_applied_once(live_gateway):
    ticket = await live_gateway.simulator.start_call(NUMBER, CALLER)
    await live_gateway.simulator.stream(ticket, b"\xff" * 160, 1.0)
    fields = {"call": ticket.call_sid, "DialCallStatus": "completed", "DialCallDuration": "7"}
    first = await post_voice(live_gateway, "/twilio/dialed?dial_attempt=1", **fields)
    second = await post_voice(live_gateway, "/twilio/dialed?dial_attempt=1", **fields)
    assert first == second
    assert len(live_gateway.bus.data_of("call.ended")) == 1


async def test_whisper_and_simultaneous_ringing():
    flow = {
        "name": "All",
        "start": "all",
        "nodes": {
            "all": {"type": "transfer", "department": "everybody", "whisper": "A call from {{ caller.number }}."}
        },
    }
    async with running_gateway(flow, ScriptedRecognizer(), ToneSynthesizer()) as served:
        report = await served.call(callees={"+13105550112": "answered", "+13105550111": "no-answer"})
    assert {dialed.target for dialed in report.dial_results} == {"+13105550111", "+13105550112"}
    assert f"A call from {CALLER}." in [dialed.whisper_text for dialed in report.dial_results]
    assert report.errors == ()


async def test_token_of_another_account_is_rejected(live_gateway):
    stranger = TwilioSimulator(live_gateway.origin, PUBLIC_URL, "AC" + "6" * 32, "a token of their own")
    async with stranger:
        report = await stranger.call(NUMBER, CALLER)
    assert report.webhooks[0].status == 403
    assert live_gateway.bus.events == []


async def test_healthz(live_gateway):
    async with aiohttp.ClientSession() as session, session.get(f"{live_gateway.origin}/healthz") as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "ok", "live_calls": 0})
