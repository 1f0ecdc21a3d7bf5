"""Webhook requests: signature algorithms, and retries and timeouts by connection overrides."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from twilio.request_validator import RequestValidator

from tests.integration.simulator.conftest import FROM, TO
from tests.support.scripted_gateway import ACCOUNT, PUBLIC, TOKEN
from vocelio.gateway.simulator import error_codes
from vocelio.gateway.simulator.behavior import TwilioBehavior
from vocelio.gateway.simulator.signing import HEADER, SETTINGS_HEADER, SharedKey
from vocelio.gateway.simulator.simulator import TwilioSimulator

KEY = SharedKey("webhooks_sharedkey_1", "the secret")
ANSWER = b"HTTP/1.1 %d x\r\nContent-Type: text/xml\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"


class FaultyWebhookServer:
    """Server that responds with the next of ``answers``: a status, 0 for a reset, None for no response."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    async def answer(self, reader, writer):
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            if "/twilio/voice" in head.partition("\r\n")[0]:
                self.requests.append(dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2]))
                await self.send_answer(self.answers.pop(0), writer)
            else:
                await self.send_answer(200, writer)
        finally:
            writer.close()

    async def send_answer(self, answer, writer):
        if answer is None:
            await asyncio.sleep(1)
        elif answer:
            body = b"<Response><Hangup/></Response>"
            writer.write(ANSWER % (answer, len(body), body))


@asynccontextmanager
async def report_with_fragment(trouble, fragment, **how):
    """Place a call whose voice webhook has that fragment; return the report."""
    async with await asyncio.start_server(trouble.answer, "127.0.0.1", 0) as server:
        origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with TwilioSimulator(
            origin, PUBLIC, ACCOUNT, TOKEN, voice_path=f"/twilio/voice#{fragment}", **how
        ) as carrier:
            yield await carrier.call(TO, FROM)


@pytest.mark.parametrize(
    ("fragment", "answers", "code"),
    [
        ("", [0, 200], None),
        ("", [0, 0], error_codes.HTTP_CONNECTION),
        ("", [500], error_codes.HTTP_RETRIEVAL),
        ("", [404], error_codes.HTTP_RETRIEVAL),
        ("rc=0", [0], error_codes.HTTP_CONNECTION),
        ("rc=3", [0, 0, 0, 200], None),
        ("rc=2&rp=5xx", [503, 500, 200], None),
        ("rc=2&rp=5xx", [503, 500, 502], error_codes.HTTP_RETRIEVAL),
        ("rc=2&rp=5xx", [404], error_codes.HTTP_RETRIEVAL),
        ("rc=2&rp=5xx", [0], error_codes.HTTP_CONNECTION),
        ("rc=2&rp=4xx", [429, 200], None),
        ("rc=5&rp=all", [0, 404, 500, None, 200], None),
        ("rc=1&rp=rt", [None, 200], None),
        ("rc=1&rp=ct", [None], error_codes.HTTP_RETRIEVAL),
    ],
)
async def test_retried_failures(fragment, answers, code):
    trouble = FaultyWebhookServer(*answers)
    async with report_with_fragment(trouble, f"{fragment}&rt=200") as report:
        assert [error.code for error in report.errors] == ([code] if code else [])
        assert report.ending == ("error" if code else "hangup")
    assert trouble.answers == []
    assert len({request["I-Twilio-Idempotency-Token"] for request in trouble.requests}) == 1
    assert len({request[HEADER] for request in trouble.requests}) == 1


async def test_total_timeout_covers_all_attempts():
    trouble = FaultyWebhookServer(*[None] * 6)
    async with report_with_fragment(trouble, "rc=5&rp=rt&rt=200&tt=500") as report:
        assert [error.code for error in report.errors] == [error_codes.HTTP_RETRIEVAL]
        assert report.seconds < 2
    assert 1 < len(trouble.requests) <= 3


async def test_invalid_retry_policy_ends_the_call_without_a_request():
    trouble = FaultyWebhookServer()
    async with report_with_fragment(trouble, "rp=sometimes") as report:
        assert [error.code for error in report.errors] == [error_codes.RETRY_POLICY]
    assert trouble.requests == []


@pytest.mark.parametrize("signs_fragment", [False, True])
@pytest.mark.parametrize("key", [None, KEY])
async def test_signs_fragment_decides_whether_the_fragment_is_signed(key, signs_fragment):
    trouble = FaultyWebhookServer(200)
    async with report_with_fragment(
        trouble, "rc=3", shared_key=key, behavior=TwilioBehavior(signs_fragment=signs_fragment)
    ) as report:
        assert report.ending == "hangup"
    (request,) = trouble.requests
    fields = {
        "CallSid": report.call_sid,
        "AccountSid": ACCOUNT,
        "ApiVersion": "2010-04-01",
        "Direction": "inbound",
        "CallStatus": "ringing",
        "From": FROM,
        "Caller": FROM,
        "To": TO,
        "Called": TO,
    }
    validator, algorithm = RequestValidator(key.secret if key else TOKEN), "HMAC_SHA256" if key else "HMAC_SHA1"
    url = f"{PUBLIC}/twilio/voice"
    assert validator.validate(url, fields, request[HEADER], algorithm) is not signs_fragment
    assert validator.validate(f"{url}#rc=3", fields, request[HEADER], algorithm) is signs_fragment
    settings = f"key={KEY.id},algorithm=HMAC_SHA256" if key else None
    assert request.get(SETTINGS_HEADER) == settings
