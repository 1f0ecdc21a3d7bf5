"""The emulated REST API, by plain HTTP and by the Twilio SDK."""

import aiohttp
import pytest

from vocelio.gateway.errors import TwilioError
from vocelio.gateway.simulator.rest_api.server import FaultRule, TwilioRestApi
from vocelio.gateway.twilio.rest_client import TwilioClient

ACCOUNT, TOKEN, OTHER = "AC" + "5" * 32, "the auth token", "AC" + "6" * 32
NUMBERS = f"/2010-04-01/Accounts/{ACCOUNT}/IncomingPhoneNumbers.json"
CALLS = f"/2010-04-01/Accounts/{ACCOUNT}/Calls.json"


@pytest.fixture
async def api():
    async with TwilioRestApi() as api:
        api.add_account(ACCOUNT, TOKEN)
        api.add_account(OTHER, "another")
        yield api


async def request(api, method, path, user=ACCOUNT, token=TOKEN, **form):
    """Send a request; return status, headers and body."""
    headers = {"Authorization": aiohttp.encode_basic_auth(user, token)} if user else {}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, api.origin + path, data=form or None, headers=headers) as answer,
    ):
        return answer.status, answer.headers, await answer.json()


async def test_list_is_paginated(api):
    account = api.add_account(ACCOUNT, TOKEN)
    made = [account.add_number(f"+1307224000{place}")["sid"] for place in range(5)]
    seen, path = [], f"{NUMBERS}?PageSize=2"
    while path:
        status, _, page = await request(api, "GET", path)
        assert (status, page["page_size"]) == (200, 2)
        seen += [item["sid"] for item in page["incoming_phone_numbers"]]
        path = page["next_page_uri"]
    assert seen == made
    assert (page["page"], page["start"], page["end"]) == (2, 4, 4)
    assert page["previous_page_uri"].startswith(f"{NUMBERS}?PageSize=2&Page=1")


@pytest.mark.parametrize(
    ("filtered", "result"),
    [("PhoneNumber=%2B13072240001", 1), ("PhoneNumber=0224000", 0), ("PhoneNumber=22400*1", 1), ("PhoneNumber=224", 3)],
)
async def test_numbers_are_filtered_by_substring(api, filtered, result):
    for place in range(3):
        api.add_account(ACCOUNT, TOKEN).add_number(f"+1307224000{place}")
    _, _, page = await request(api, "GET", f"{NUMBERS}?{filtered}")
    assert len(page["incoming_phone_numbers"]) == result


@pytest.mark.parametrize(
    ("user", "token"), [("", ""), (ACCOUNT, "wrong"), ("AC" + "9" * 32, TOKEN), (OTHER, "another")]
)
async def test_account_requires_its_own_credentials(api, user, token):
    status, headers, body = await request(api, "GET", NUMBERS, user, token)
    assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="Twilio API"')
    assert body == {
        "code": 20003,
        "message": "Authenticate",
        "more_info": "https://www.twilio.com/docs/errors/20003",
        "status": 401,
    }


async def test_application_and_trunk_replace_each_other(api):
    made = api.add_account(ACCOUNT, TOKEN).add_number("+13072240001")
    path = f"/2010-04-01/Accounts/{ACCOUNT}/IncomingPhoneNumbers/{made['sid']}.json"
    assert (await request(api, "POST", path, TrunkSid="TK" + "1" * 32))[2]["trunk_sid"] == "TK" + "1" * 32
    _, _, body = await request(api, "POST", path, VoiceApplicationSid="AP" + "1" * 32)
    assert (body["voice_application_sid"], body["trunk_sid"]) == ("AP" + "1" * 32, None)
    assert (await request(api, "POST", path, VoiceMethod="PUT"))[0] == 400
    assert (await request(api, "DELETE", path))[0] == 405
    assert (await request(api, "GET", path))[2] == body


async def test_call_from_creation_to_end(api):
    refused = [
        {},
        {"To": "nobody", "From": "+13072240001", "Url": "https://v.example"},
        {"To": "+13105550142", "From": "+13072240001"},
    ]
    for form in refused:
        assert (await request(api, "POST", CALLS, **form))[0] == 400
    status, _, call = await request(api, "POST", CALLS, To="+13105550142", From="+13072240001", Url="https://v.example")
    assert (status, call["status"], call["direction"]) == (201, "queued", "outbound-api")
    path = f"/2010-04-01/Accounts/{ACCOUNT}/Calls/{call['sid']}.json"
    assert (await request(api, "POST", path, Twiml="<Response/>"))[2]["twiml"] == "<Response/>"
    assert (await request(api, "POST", path, Status="completed"))[2]["status"] == "completed"
    assert (await request(api, "GET", path))[2]["status"] == "completed"
    status, _, body = await request(api, "POST", path, Status="completed")
    assert (status, body["code"]) == (404, 20404)
    status, _, body = await request(api, "POST", path, Url="https://v.example")
    assert (status, body["code"]) == (400, 21220)


async def test_sdk_creates_a_call(api):
    rest = TwilioClient(api.origin)
    client = await rest.sdk_client(ACCOUNT, TOKEN)
    call = await client.calls.create_async(to="+13105550142", from_="+13072240001", twiml="<Response/>")
    assert call.status == "queued"
    assert (await client.calls(call.sid).fetch_async()).to == "+13105550142"
    await rest.aclose()


async def test_fault_applies_to_its_path_and_number_of_requests(api):
    api.add_fault(FaultRule(429, retry_after_seconds=7), times=2, path="Calls", method="POST")
    assert (await request(api, "GET", NUMBERS))[0] == 200
    for _ in range(2):
        status, headers, body = await request(api, "POST", CALLS)
        assert (status, headers["Retry-After"], body["code"]) == (429, "7", 20429)
    assert (await request(api, "POST", CALLS))[0] == 400
    api.add_fault(FaultRule())
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await request(api, "POST", CALLS)
    assert [item.method for item in api.recorded_requests] == ["GET", "POST", "POST", "POST", "POST"]


async def test_unknown_path_is_not_found(api):
    for path in ("/", "/2010-04-01/Accounts/nobody.json", f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"):
        assert (await request(api, "GET", path))[0] in (401, 404)
    rest = TwilioClient(api.origin)
    with pytest.raises(TwilioError, match="was not found"):
        await rest.account_client(ACCOUNT, TOKEN).redirect_call("CA" + "1" * 32, "https://v.example")
    await rest.aclose()
