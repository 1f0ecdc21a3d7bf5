"""Signed requests with malformed fields: 400 with a reason, on both databases, and nothing is stored or logged of them.

A tenant with a Twilio account of its own knows its auth token, so it can sign any request.
"""

import hashlib
import itertools
from urllib.parse import urlencode

import aiohttp
import pytest
from sqlalchemy import func, select
from twilio.request_validator import RequestValidator
from yarl import URL

from tests.support.running_gateway import ACCOUNT, CALLER, NUMBER, PUBLIC_URL, TOKEN, running_gateway
from tests.support.tenant_fixtures import CIPHER, create_tenant, flow_document
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.logs import MAX_LINES_PER_MINUTE, RateLimitFilter
from vocelio.gateway.simulator.sids import new_rng, new_sid
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.store import numbers
from vocelio.gateway.store.calls.write_behind import WriteBehindCallStore
from vocelio.gateway.store.database_directory import DatabaseDirectory
from vocelio.gateway.store.db.schema import calls
from vocelio.gateway.store.flows import drafts, promotion
from vocelio.gateway.store.numbers import NewNumber
from vocelio.gateway.store.tenants.twilio_accounts import TwilioAccounts

WEBHOOKS = ("voice", "overflow", "fallback", "continue", "dialed", "whisper", "status", "stream")
LONG = "x" * 60_000
BAD_TEXTS = {
    "nul": "+1310\x00",
    "escape": "+1310\x1b]0;owned\x07",
    "newline": "+1310\n",
    "line separator": "\u2028",
    "long": LONG,
}
BAD_CALLS = {
    "nul": "CA\x001",
    "nul at its end": "CA" + "7" * 32 + "\x00",
    "newline": "CA" + "7" * 32 + "\n",
    "long": "CA" + "7" * 60_000,
    "path": "CA" + "../" * 10 + "77",
    "upper case": "CA" + "A" * 32,
    "glued": "CA" + "7" * 32 + "From+13105550142",
    "other digits": "CA" + "\u0667" * 32,
}
rng = new_rng(1)


@pytest.fixture
async def live_gateway(database, make_actor):
    actor = await create_tenant(database, make_actor)
    await drafts.put_flow(database, actor, "hello", flow_document(), None)
    await promotion.promote_flow(database, actor, "hello", "")
    await numbers.create_number(database, actor, NewNumber(NUMBER))
    await numbers.assign_number(database, actor, NUMBER, "hello")
    async with running_gateway(
        None,
        ScriptedRecognizer(),
        ToneSynthesizer(),
        directory=DatabaseDirectory(database, CIPHER, wall_clock),
        call_store=WriteBehindCallStore(database, CIPHER),
        accounts=TwilioAccounts(database, CIPHER).get_auth_token,
    ) as running:
        yield running


class Fields(list):
    """Ordered form fields, some of them repeated, with the interface that the validator needs."""

    def __iter__(self):
        return iter(dict.fromkeys(name for name, _ in super().__iter__()))

    def getall(self, wanted):
        return [value for name, value in super().__iter__() if name == wanted]


def valid_fields(**changes):
    fields = {"AccountSid": ACCOUNT, "CallSid": new_sid("CA", rng), "From": CALLER, "To": NUMBER, **changes}
    return [(name, value) for name, value in fields.items() if value is not None]


async def post(gateway, path, fields):
    """Post a signed form; return status and text."""
    signature = RequestValidator(TOKEN).compute_signature(PUBLIC_URL + path, Fields(fields))
    headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
    url = URL(gateway.origin + path, encoded=True)
    async with aiohttp.ClientSession() as session, session.post(url, data=urlencode(fields), headers=headers) as answer:
        return answer.status, await answer.text()


async def count_calls(database):
    async with database.read() as connection:
        return await connection.scalar(select(func.count()).select_from(calls))


async def assert_bad_request(gateway, caplog, path, fields, name):
    caplog.clear()
    status, text = await post(gateway, path, fields)
    assert (status, name in text) == (400, True), text[:300]
    assert len(text) < 400
    assert [record for record in caplog.records if record.exc_info or record.levelname == "ERROR"] == []
    assert all(len(message) < 300 and message.isprintable() for message in caplog.messages)


@pytest.mark.parametrize("webhook", WEBHOOKS)
async def test_malformed_form_is_a_bad_request_on_every_webhook(live_gateway, database, caplog, webhook):
    path = f"/twilio/{webhook}"
    for call in BAD_CALLS.values():
        await assert_bad_request(live_gateway, caplog, path, valid_fields(CallSid=call), "CallSid")
    for name, text in itertools.product(("From", "To"), BAD_TEXTS.values()):
        await assert_bad_request(live_gateway, caplog, path, valid_fields(**{name: text}), name)
    for name, text in {"CallStatus": "a\x00", "StreamError": "\x00", "DialCallDuration": "9" * 400}.items():
        await assert_bad_request(live_gateway, caplog, path, valid_fields(**{name: text}), name)
    for name in ("CallSid", "From", "To"):
        repeated = [*valid_fields(), (name, dict(valid_fields())[name])]
        await assert_bad_request(live_gateway, caplog, path, repeated, name)
    assert await count_calls(database) == 0


@pytest.mark.parametrize("webhook", WEBHOOKS)
@pytest.mark.parametrize(
    "query",
    [
        "call=%00",
        "call=CA1",
        "call=CA" + "7" * 32 + "%00",
        "transfer=%00",
        "transfer=%ED%A0%80%1B",
        "message=%00",
        "message=" + "x" * 5_000,
        "generation=1e400",
        "retry=" + "9" * 50,
        "generation=1&generation=2",
        "DialCallStatus=%00",
    ],
)
async def test_malformed_query_is_a_bad_request_on_every_webhook(live_gateway, caplog, webhook, query):
    name = query.partition("=")[0]
    await assert_bad_request(live_gateway, caplog, f"/twilio/{webhook}?{query}", valid_fields(), name)


@pytest.mark.parametrize("call", ['"CA\\u0000"', '"\\ud800"', f'"{LONG}"', "7", '{"a": 1}', "null"])
async def test_malformed_json_is_a_bad_request(live_gateway, caplog, call):
    body = f'{{"AccountSid": "{ACCOUNT}", "To": "{NUMBER}", "CallSid": {call}}}'.encode()
    path = f"/twilio/voice?bodySHA256={hashlib.sha256(body).hexdigest()}"
    signature = RequestValidator(TOKEN).compute_signature(PUBLIC_URL + path, {})
    headers = {"X-Twilio-Signature": signature, "Content-Type": "application/json"}
    url = live_gateway.origin + path
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
        assert answer.status == 400
    assert all(len(message) < 300 for message in caplog.messages)


async def test_log_of_rejected_requests_is_bounded(live_gateway, caplog, request):
    rate_limit = RateLimitFilter()
    request.addfinalizer(lambda: caplog.handler.removeFilter(rate_limit))
    caplog.handler.addFilter(rate_limit)  # as logs.configure does
    for _ in range(MAX_LINES_PER_MINUTE + 40):
        await post(live_gateway, "/twilio/voice", valid_fields(CallSid="CA1"))
    assert len(caplog.messages) == MAX_LINES_PER_MINUTE


async def test_malformed_query_of_a_failed_url_is_a_bad_request(live_gateway, caplog):
    fields = valid_fields(ErrorCode="11200", ErrorUrl=f"{PUBLIC_URL}/twilio/whisper?call=%00")
    await assert_bad_request(live_gateway, caplog, "/twilio/fallback", fields, "call")


@pytest.mark.parametrize("account", ["AC\x00", "AC" + "5" * 32 + "\x00", LONG, "", "AC" + "\u0665" * 32])
async def test_malformed_account_is_unknown(live_gateway, database, account):
    """It is looked up before the signature can be verified, so by anybody."""
    status, _ = await post(live_gateway, "/twilio/voice", valid_fields(AccountSid=account))
    assert status == 403
    for path in ("AC%00", "AC" + "5" * 32 + "%00"):
        url = URL(f"{live_gateway.origin}/twilio/media/{path}", encoded=True)
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(url, headers={"X-Twilio-Signature": "x"})
            assert refused.value.status == 403


@pytest.mark.parametrize(
    "caller",
    [
        "+13105550142",
        "3105550142",
        "+266696687",
        "+7378742833",
        "732873",
        "",
        "Anonymous",
        "anonymous",
        "Restricted",
        "Private Number",
        "unavailable",
        "sip:+13105550142@pbx.example.com;transport=tls",
        "sip:anonymous@anonymous.invalid",
        "sip:j\u00fcrgen@pbx.example.com:5060",
        "client:alice smith",
        "whatsapp:+13105550142",
    ],
)
async def test_callers_as_twilio_sends_them_are_connected(live_gateway, caller):
    status, text = await post(
        live_gateway, "/twilio/voice", valid_fields(From=caller, CallerName="J\u00fcrgen \U0001f600")
    )
    assert status == 200
    assert "<Stream" in text


@pytest.mark.parametrize("called", ["+13072240000", "sip:+13072249663@acme.sip.twilio.com", "client:alice", "*98"])
async def test_other_addresses_are_not_in_service(live_gateway, called):
    status, text = await post(live_gateway, "/twilio/voice", valid_fields(To=called))
    assert status == 200
    assert "not in service" in text


async def test_malformed_fields_that_are_never_read_do_not_matter(live_gateway):
    more = [("SipHeader_X-Test", "a\x00b"), ("FromCity", "\x1b"), ("FromCity", "twice"), ("Digits", LONG[:1_000])]
    status, text = await post(live_gateway, "/twilio/voice?utm=%00", [*valid_fields(), *more])
    assert status == 200
    assert "<Stream" in text


async def test_reason_of_a_lost_stream_is_logged_in_one_line(live_gateway, caplog):
    fields = valid_fields(StreamEvent="stream-error", StreamError="closed\r\nby the peer" + " x" * 500)
    status, _ = await post(live_gateway, "/twilio/stream?generation=1", fields)
    assert status == 204
    (message,) = [message for message in caplog.messages if "lost its stream" in message]
    assert "closed by the peer" in message
    assert message.isprintable()
    assert len(message) < 300
