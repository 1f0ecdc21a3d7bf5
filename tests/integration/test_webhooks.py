"""The webhooks over real HTTP: signatures, retries, transfers, and what a stranger gets."""

import re
from xml.etree import ElementTree

import aiohttp
import pytest

from tests.gateway import ACCOUNT, CALLER, NUMBER, PUBLIC_URL, TOKEN, gateway
from vocelio.gateway.simulator.signing import Signer
from vocelio.gateway.simulator.simulator import Carrier
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
async def served():
    async with gateway(FLOW, ScriptedRecognizer(), ToneSynthesizer()) as running:
        yield running


async def post(served, path, *, signature=None, token=TOKEN, call=CALL, **fields):
    form = {"AccountSid": ACCOUNT, "CallSid": call, "From": CALLER, "To": NUMBER, **fields}
    headers = Signer(token).form(PUBLIC_URL + path, form)
    if signature is not None:
        headers = {"X-Twilio-Signature": signature}
    url = served.origin + path
    async with aiohttp.ClientSession() as session, session.post(url, data=form, headers=headers) as answer:
        return answer.status, await answer.text()


async def test_a_call_gets_a_stream_with_a_token(served):
    status, text = await post(served, "/twilio/voice")
    stream = ElementTree.fromstring(text).find("Connect/Stream")
    assert status == 200
    assert stream.get("url") == f"wss://gateway.example/twilio/media/{ACCOUNT}"
    assert len(stream.find("Parameter").get("value")) >= 32
    assert ElementTree.fromstring(text).find("Redirect").text == f"{PUBLIC_URL}/twilio/continue?g=0&k=0"


async def test_asked_twice_it_is_one_call(served):
    first, second = await post(served, "/twilio/voice"), await post(served, "/twilio/voice")
    tokenless = re.compile('value="[^"]*"')
    assert tokenless.sub("", first[1]) == tokenless.sub("", second[1])


@pytest.mark.parametrize("path", ["voice", "continue", "dialed", "whisper", "status"])
@pytest.mark.parametrize("signature", ["", "wrong", "other token"])
async def test_unsigned_requests_are_forbidden(served, path, signature):
    wrong = {"token": "another token"} if signature == "other token" else {"signature": signature}
    status, text = await post(served, f"/twilio/{path}", **wrong)
    assert status == 403
    assert TOKEN not in text
    assert served.bus.events == []


async def test_an_unsigned_request_starts_nothing_even_after_a_signed_one(served):
    status, _ = await post(served, "/twilio/voice", signature="wrong")
    assert status == 403
    status, text = await post(served, "/twilio/continue")
    assert status == 200
    assert "not in service" in text, "the forbidden call is unknown"


async def test_an_unknown_number_is_told_so(served):
    _, text = await post(served, "/twilio/voice", To="+13072240000")
    verbs = [verb.tag for verb in ElementTree.fromstring(text)]
    assert verbs == ["Say", "Hangup"]


async def test_a_body_without_what_twilio_sends(served):
    form = {"AccountSid": ACCOUNT}
    headers = Signer(TOKEN).form(f"{PUBLIC_URL}/twilio/voice", form)
    async with aiohttp.ClientSession() as session:
        url = f"{served.origin}/twilio/voice"
        async with session.post(url, data=form, headers=headers) as answer:
            assert answer.status == 400
            assert (await answer.json())["detail"] == "the form has no CallSid"
        async with session.post(url, data=b"x" * 100_000, headers=headers) as answer:
            assert answer.status == 400


async def test_a_department_is_rung_number_by_number_and_the_flow_goes_on(served):
    report = await served.call(dials=["busy", "no-answer"])
    assert [(dialed.target, dialed.outcome) for dialed in report.dialed] == [
        ("+13105550113", "busy"),
        ("+13105550114", "no-answer"),
    ]
    assert served.bus.of("transfer.ended") == [{"how": "no_answer", "seconds": 0.0}]
    assert [event["text"] for event in served.bus.of("prompt.started")] == ["Nobody is there. Goodbye."]
    assert served.bus.of("call.ended")[0]["outcome"] == "completed"
    assert (report.ended, report.errors) == ("hangup", ())


async def test_an_answered_transfer_ends_the_call(served):
    report = await served.call(dials=["busy", "answered"])
    assert [dialed.outcome for dialed in report.dialed] == ["busy", "answered"]
    (ended,) = served.bus.of("call.ended")
    assert (ended["outcome"], ended["department"]) == ("transferred", "support")
    assert report.errors == ()


async def test_the_ringing_result_asked_twice_is_counted_once(served):
    ticket = await served.carrier.ring(NUMBER, CALLER)
    await served.carrier.stream(ticket, b"\xff" * 160, 1.0)
    fields = {"call": ticket.call_sid, "DialCallStatus": "completed", "DialCallDuration": "7"}
    first = await post(served, "/twilio/dialed?n=1", **fields)
    second = await post(served, "/twilio/dialed?n=1", **fields)
    assert first == second
    assert len(served.bus.of("call.ended")) == 1


async def test_whispers_and_ringing_together():
    flow = {
        "name": "All",
        "start": "all",
        "nodes": {
            "all": {"type": "transfer", "department": "everybody", "whisper": "A call from {{ caller.number }}."}
        },
    }
    async with gateway(flow, ScriptedRecognizer(), ToneSynthesizer()) as served:
        report = await served.call(dials={"+13105550112": "answered", "+13105550111": "no-answer"})
    assert {dialed.target for dialed in report.dialed} == {"+13105550111", "+13105550112"}
    assert f"A call from {CALLER}." in [dialed.whisper for dialed in report.dialed]
    assert report.errors == ()


async def test_another_accounts_token_opens_nothing(served):
    stranger = Carrier(served.origin, PUBLIC_URL, "AC" + "6" * 32, "a token of their own")
    async with stranger:
        report = await stranger.call(NUMBER, CALLER)
    assert report.webhooks[0].status == 403
    assert served.bus.events == []


async def test_healthz(served):
    async with aiohttp.ClientSession() as session, session.get(f"{served.origin}/healthz") as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "ok", "live_calls": 0})
