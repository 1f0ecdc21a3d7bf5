"""Signatures over real HTTP and WebSockets, with both algorithms: what is accepted and what is answered with 403."""

import hashlib
import json
from urllib.parse import urlencode

import aiohttp
import pytest
from twilio.request_validator import RequestValidator
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from yarl import URL

from tests.support.running_gateway import ACCOUNT, CALLER, NUMBER, PUBLIC_URL, SHARED_KEY, TOKEN, running_gateway
from vocelio.gateway.simulator.behavior import TwilioBehavior
from vocelio.gateway.simulator.simulator import TwilioSimulator
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer

FLOW = {"name": "Bye", "start": "bye", "nodes": {"bye": {"type": "hangup", "text": "Bye."}}}
TENANT, TENANT_TOKEN = "AC" + "7" * 32, "the token of a tenant"
SIGNATURE, SETTINGS = "X-Twilio-Signature", "X-Twilio-Webhooks-Signature-Settings"
STATUS, MEDIA = "/twilio/status", f"/twilio/media/{ACCOUNT}"
FIELDS = [("AccountSid", ACCOUNT), ("CallSid", "CA" + "7" * 32), ("From", CALLER), ("To", NUMBER)]
FORM_TYPE = {"Content-Type": "application/x-www-form-urlencoded"}
KEYS = {"HMAC_SHA1": TOKEN, "HMAC_SHA256": SHARED_KEY.secret}


async def token_lookup(account):
    return TENANT_TOKEN if account == TENANT else None


def serve_gateway(public_url=PUBLIC_URL):
    return running_gateway(FLOW, ScriptedRecognizer(), ToneSynthesizer(), accounts=token_lookup, public_url=public_url)


@pytest.fixture
async def live_gateway():
    async with serve_gateway() as running:
        yield running


@pytest.fixture(params=list(KEYS))
def algorithm(request):
    return request.param


class FormFields(list):
    """Ordered form fields, some of them repeated, with the interface that the validator needs."""

    def __iter__(self):
        return iter([name for name, _ in super().__iter__()])

    def getall(self, wanted):
        return [value for name, value in super().__iter__() if name == wanted]


def signature_headers(algorithm, url, fields=(), secret=None):
    """Return both signature headers."""
    signature = RequestValidator(secret or KEYS[algorithm]).compute_signature(url, FormFields(fields), algorithm)
    settings = {SETTINGS: f"key={SHARED_KEY.id},algorithm={algorithm}"} if algorithm == "HMAC_SHA256" else {}
    return {SIGNATURE: signature, **settings}


async def post_status(served, path, body, sent):
    """Return the status of the response."""
    url = URL(served.origin + path, encoded=True)
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=sent) as answer:
        text = await answer.text()
    assert not any(secret in text for secret in (*KEYS.values(), TENANT_TOKEN))
    return answer.status


async def post_form_status(served, path, fields, sent):
    """Post a form; headers by name or in pairs."""
    sent = sent.items() if isinstance(sent, dict) else sent
    return await post_status(served, path, urlencode(fields), [*FORM_TYPE.items(), *sent])


async def upgrade_status(served, path, sent):
    """Return the status of the response; 101 for an opened socket."""
    url = served.origin.replace("http", "ws") + path
    try:
        async with connect(url, additional_headers=sent, compression=None, proxy=None):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


@pytest.mark.parametrize(
    "more",
    [
        [],
        [("Digits", "1"), ("Digits", "2")],
        [("SpeechResult", "")],
        [("SpeechResult", "Straße, 東京 & 🙂 = a+b")],
    ],
)
@pytest.mark.parametrize("query", ["", "?n=1", "?n=1&n=2", "?n=", "?n=caf%C3%A9"])
async def test_signed_request_is_accepted(live_gateway, algorithm, query, more):
    fields = [*FIELDS, *more]
    assert (
        await post_form_status(
            live_gateway, STATUS + query, fields, signature_headers(algorithm, PUBLIC_URL + STATUS + query, fields)
        )
        == 204
    )


@pytest.mark.parametrize(
    ("public_url", "signed"),
    [
        ("https://gateway.example", "https://gateway.example:443"),
        ("https://gateway.example:443", "https://gateway.example"),
        ("https://gateway.example:443", "https://gateway.example:443"),
        ("https://gateway.example:8443", "https://gateway.example:8443"),
    ],
)
async def test_port_of_the_public_url_may_be_omitted(algorithm, public_url, signed):
    async with serve_gateway(public_url) as served:
        assert (
            await post_form_status(served, STATUS, FIELDS, signature_headers(algorithm, signed + STATUS, FIELDS)) == 204
        )
        named = "wss://" + public_url.partition("://")[2]
        assert await upgrade_status(served, MEDIA, signature_headers(algorithm, named + MEDIA)) == 101


REFUSED = {
    "another scheme": ("http://gateway.example" + STATUS, {}),
    "another host": ("https://elsewhere.example" + STATUS, {}),
    "another port": (f"{PUBLIC_URL}:8443{STATUS}", {}),
    "another path": (f"{PUBLIC_URL}/twilio/continue", {}),
    "a slash more": (f"{PUBLIC_URL}{STATUS}/", {}),
    "a query": (f"{PUBLIC_URL}{STATUS}?n=1", {}),
    "a fragment": (f"{PUBLIC_URL}{STATUS}#ct=500&rc=3", {}),
    "a wrong key": (f"{PUBLIC_URL}{STATUS}", {"secret": "a wrong one"}),
    "a tenant's token": (f"{PUBLIC_URL}{STATUS}", {"secret": TENANT_TOKEN}),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_signature_of_something_else_is_rejected(live_gateway, algorithm, name):
    url, how = REFUSED[name]
    assert await post_form_status(live_gateway, STATUS, FIELDS, signature_headers(algorithm, url, FIELDS, **how)) == 403
    sent = signature_headers(algorithm, url.replace("http", "ws", 1).replace(STATUS, MEDIA), **how)
    assert await upgrade_status(live_gateway, MEDIA, sent) == 403


@pytest.mark.parametrize("missing", ["no header", "empty", "twice"])
async def test_missing_signature_is_rejected(live_gateway, algorithm, missing):
    sent = signature_headers(algorithm, PUBLIC_URL + STATUS, FIELDS)
    signature = sent.pop(SIGNATURE)
    both = {"no header": [], "empty": [(SIGNATURE, "")], "twice": [(SIGNATURE, signature)] * 2}[missing]
    assert await post_form_status(live_gateway, STATUS, FIELDS, [*sent.items(), *both]) == 403
    assert await upgrade_status(live_gateway, MEDIA, [*sent.items(), *both]) == 403


async def test_keys_of_tenants_and_platform_are_not_interchangeable(live_gateway):
    theirs = [("AccountSid", TENANT), *FIELDS[1:]]
    url = PUBLIC_URL + STATUS
    assert (
        await post_form_status(live_gateway, STATUS, theirs, signature_headers("HMAC_SHA1", url, theirs, TENANT_TOKEN))
        == 204
    )
    assert await post_form_status(live_gateway, STATUS, theirs, signature_headers("HMAC_SHA1", url, theirs)) == 403
    assert await post_form_status(live_gateway, STATUS, theirs, signature_headers("HMAC_SHA256", url, theirs)) == 403
    media = f"/twilio/media/{TENANT}"
    assert (
        await upgrade_status(
            live_gateway, media, signature_headers("HMAC_SHA1", "wss://gateway.example" + media, (), TENANT_TOKEN)
        )
        == 101
    )
    assert (
        await upgrade_status(live_gateway, media, signature_headers("HMAC_SHA1", "wss://gateway.example" + media))
        == 403
    )
    assert (
        await upgrade_status(live_gateway, media, signature_headers("HMAC_SHA256", "wss://gateway.example" + media))
        == 403
    )


@pytest.mark.parametrize(
    "settings",
    ["", "key=unknown,algorithm=HMAC_SHA256", f"key={SHARED_KEY.id},algorithm=HMAC_SHA1", "nonsense"],
)
async def test_weaker_algorithm_is_never_a_fallback(live_gateway, settings):
    for name in KEYS:
        sent = {**signature_headers(name, PUBLIC_URL + STATUS, FIELDS), SETTINGS: settings}
        assert await post_form_status(live_gateway, STATUS, FIELDS, sent) == 403
        sent = {**signature_headers(name, f"wss://gateway.example{MEDIA}"), SETTINGS: settings}
        assert await upgrade_status(live_gateway, MEDIA, sent) == 403


@pytest.mark.parametrize("name", ["X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Original-Host", "Host"])
async def test_forwarded_headers_are_ignored(live_gateway, algorithm, name):
    value = {"X-Forwarded-Proto": "http", "Forwarded": "host=elsewhere.example"}.get(name, "elsewhere.example")
    sent = {**signature_headers(algorithm, PUBLIC_URL + STATUS, FIELDS), name: value}
    assert await post_form_status(live_gateway, STATUS, FIELDS, sent) == 204
    elsewhere = {**signature_headers(algorithm, "https://elsewhere.example" + STATUS, FIELDS), name: value}
    assert await post_form_status(live_gateway, STATUS, FIELDS, elsewhere) == 403


async def test_json_body_is_verified_by_its_hash(live_gateway, algorithm):
    body = json.dumps({**dict(FIELDS), "CallStatus": "completed", "Text": "Straße", "Number": 1}).encode()
    path = f"{STATUS}?bodySHA256={hashlib.sha256(body).hexdigest()}"
    sent = {**signature_headers(algorithm, PUBLIC_URL + path), "Content-Type": "application/json; charset=utf-8"}
    assert await post_status(live_gateway, path, body, sent) == 204
    assert await post_status(live_gateway, path, body.replace(b"completed", b"canceled"), sent) == 403
    assert await post_status(live_gateway, path, body, {**sent, **FORM_TYPE}) == 403, "a form has its fields signed"
    sent = {**signature_headers(algorithm, PUBLIC_URL + STATUS), "Content-Type": "application/json"}
    assert await post_status(live_gateway, STATUS, body, sent) == 403, "without its hash anything would be a body"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"AccountSid": "\\ud800"}', b"\xff", b"[" * 60_000])
async def test_body_that_is_not_a_json_object_is_rejected(live_gateway, body):
    assert await post_status(live_gateway, STATUS, body, {"Content-Type": "application/json"}) == 400


async def test_query_with_invalid_bytes_is_rejected(live_gateway, algorithm):
    sent = signature_headers(algorithm, PUBLIC_URL + STATUS, FIELDS)
    assert await post_form_status(live_gateway, f"{STATUS}?n=%FF%00", FIELDS, sent) == 403
    assert (
        await upgrade_status(
            live_gateway, f"{MEDIA}?n=%FF", signature_headers(algorithm, f"wss://gateway.example{MEDIA}")
        )
        == 403
    )


@pytest.mark.parametrize("key", [None, SHARED_KEY])
async def test_whole_call_signed_by_the_simulator(live_gateway, key):
    async with TwilioSimulator(live_gateway.origin, PUBLIC_URL, ACCOUNT, TOKEN, shared_key=key) as carrier:
        report = await carrier.call(NUMBER, CALLER)
    assert (report.ending, report.errors) == ("hangup", ())
    assert {webhook.status for webhook in report.webhooks} <= {200, 204}


@pytest.mark.parametrize("shared_key_signs_upgrades", [True, False])
async def test_upgrade_may_be_signed_with_either_key(live_gateway, shared_key_signs_upgrades):
    switches = TwilioBehavior(shared_key_signs_upgrades=shared_key_signs_upgrades)
    async with TwilioSimulator(
        live_gateway.origin, PUBLIC_URL, ACCOUNT, TOKEN, shared_key=SHARED_KEY, behavior=switches
    ) as carrier:
        report = await carrier.call(NUMBER, CALLER)
    assert (report.ending, report.errors) == ("hangup", ())
