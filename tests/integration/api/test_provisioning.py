"""Numbers and Twilio through the API: told, tried again, repaired, imported; by keys of tenants and of the platform."""

import pytest

from tests.support.api_client import PLATFORM_ACCOUNT, PLATFORM_TOKEN, PUBLIC_URL, ApiEnv, create_tenant
from tests.support.two_tenants import ACCOUNT, NUMBER, OTHER_NUMBER, TOKEN, make_flow
from vocelio.gateway.clock import from_rfc3339
from vocelio.gateway.config import SIMULATOR_ACCOUNT_SID
from vocelio.gateway.simulator.rest_api.server import FaultRule, TwilioRestApi

BOTH = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
PREVIOUS_VOICE_URL = "https://old.example/answer"


@pytest.fixture
async def twilio_api():
    """Twilio's API, where the platform's account has two numbers."""
    async with TwilioRestApi() as emulator:
        there = emulator.add_account(PLATFORM_ACCOUNT, PLATFORM_TOKEN)
        for number in (NUMBER, OTHER_NUMBER):
            there.add_number(number, voice_url=PREVIOUS_VOICE_URL, friendly_name=f"number {number[-2:]}")
        yield emulator


@pytest.fixture
async def api(database, twilio_api):
    """The API, with a registrar whose turn it is when the test says so."""
    api = ApiEnv(database, twilio=twilio_api.origin)
    yield api
    await api.provisioner.aclose()


async def create_tenant_with_number(api, name="harbour", number=NUMBER):
    """A tenant with a flow and a number: its admin."""
    admin = await create_tenant(api, name)
    await request_ok(admin, "PUT", "/v1/flows/desk", make_flow())
    await request_ok(admin, "POST", "/v1/flows/desk/promote", {"note": ""})
    if number:
        await request_ok(await api.platform_client(name), "POST", "/v1/numbers", {"number": number})
    return admin


async def request_ok(client, method, path, body=None):
    """The answer, which is no refusal."""
    answer = await client.request(method, path, body)
    assert answer.status < 300, answer.body
    return answer.json if answer.body else None


async def test_of_the_platforms_account_a_tenant_takes_no_number(api):
    admin = await create_tenant_with_number(api, number=None)
    refused = await admin.request("POST", "/v1/numbers", {"number": NUMBER})
    assert (refused.status, "platform key" in refused.json["detail"]) == (403, True)


async def assign_number(client, number=NUMBER):
    await request_ok(client, "PUT", f"/v1/numbers/{number}/assignment", {"flow": "desk"})


async def get_provisioning(client, number=NUMBER):
    """What is told of a number."""
    page = await request_ok(client, "GET", "/v1/number-provisioning")
    return next(item for item in page["items"] if item["number"] == number)


def voice_url(twilio, number=NUMBER, account=PLATFORM_ACCOUNT, token=PLATFORM_TOKEN):
    return twilio.add_account(account, token).get_number(number)["voice_url"]


@BOTH
async def test_from_assignment_to_drift_to_repair_to_the_end(api, twilio_api):
    admin = await create_tenant_with_number(api)
    before = await get_provisioning(admin)
    assert (before["state"], before["desired"], before["actual"]["voice_url"]) == (None, None, PREVIOUS_VOICE_URL)
    await assign_number(admin)
    pending = await get_provisioning(admin)
    assert (pending["state"], pending["flow"], pending["desired"]["voice_url"]) == (
        "pending",
        "desk",
        f"{PUBLIC_URL}/twilio/voice",
    )
    assert {line["field"] for line in pending["differences"]} == {"voice_url", "voice_fallback_url", "status_callback"}
    await api.provisioner.process_due()
    assert voice_url(twilio_api) == f"{PUBLIC_URL}/twilio/voice"
    assert (await get_provisioning(admin))["state"] == "provisioned"
    twilio_api.add_account(PLATFORM_ACCOUNT, PLATFORM_TOKEN).get_number(NUMBER)["status_callback"] = ""
    drifted = await get_provisioning(admin)
    assert drifted["state"] == "drifted"
    assert drifted["differences"] == [
        {"field": "status_callback", "desired": f"{PUBLIC_URL}/twilio/status", "actual": ""},
    ]
    repairing = await admin.request("POST", "/v1/number-provisioning/repair")
    assert (repairing.status, repairing.json) == (202, {"numbers": [NUMBER]})
    await api.provisioner.process_due()
    assert (await get_provisioning(admin))["differences"] == []
    assert await request_ok(admin, "POST", "/v1/number-provisioning/repair") == {"numbers": []}
    await request_ok(admin, "DELETE", f"/v1/numbers/{NUMBER}/assignment")
    assert (await get_provisioning(admin))["desired"]["voice_url"] == PREVIOUS_VOICE_URL
    await api.provisioner.process_due()
    assert voice_url(twilio_api) == PREVIOUS_VOICE_URL
    reported = [event.type for event in api.bus.events]
    assert reported == ["number.provisioned", "number.drifted", "number.repaired", "number.restored"]
    trail = [line["action"] for line in (await request_ok(admin, "GET", "/v1/audit"))["items"]]
    assert trail[:3] == ["number.unassigned", "number.provisioning_retried", "number.assigned"]


async def test_tried_again_when_somebody_asks(api, twilio_api):
    admin = await create_tenant_with_number(api)
    assert (await admin.request("POST", f"/v1/numbers/{NUMBER}/provisioning")).status == 409
    await assign_number(admin)
    twilio_api.add_fault(FaultRule(500), times=100)
    await api.provisioner.process_due()
    page = await request_ok(admin, "GET", "/v1/number-provisioning")
    assert "Internal Server Error" in page["error"]
    (failed,) = page["items"]
    assert (failed["state"], failed["failed_attempts"], failed["actual"]) == ("failed", 1, None)
    assert from_rfc3339(failed["next_attempt_at"]) > api.now
    assert (await admin.request("POST", "/v1/number-provisioning/repair")).status == 502
    twilio_api.clear_faults()
    assert (await admin.request("POST", f"/v1/numbers/{NUMBER}/provisioning")).status == 202
    await api.provisioner.process_due()
    assert (await get_provisioning(admin))["state"] == "provisioned"
    assert (await admin.request("POST", "/v1/numbers/+13072240000/provisioning")).status == 404


async def test_what_was_assigned_before_there_was_a_registrar_is_repaired(api, twilio_api, database):
    admin = await create_tenant_with_number(api)
    await assign_number(admin)
    async with database.transaction() as connection:
        await connection.exec_driver_sql("DELETE FROM number_provisioning")
    assert (await get_provisioning(admin))["state"] is None
    await request_ok(admin, "POST", "/v1/number-provisioning/repair")
    await api.provisioner.process_due()
    assert (await get_provisioning(admin))["state"] == "provisioned"


@BOTH
async def test_numbers_come_in_pages_and_are_imported(api, twilio_api):
    admin = await create_tenant_with_number(api, number=None)
    there = twilio_api.add_account(ACCOUNT, TOKEN)
    await request_ok(admin, "PUT", "/v1/tenant/twilio", {"account_sid": ACCOUNT, "auth_token": TOKEN})
    for place in range(5):
        there.add_number(f"+1307224000{place}", friendly_name=f"line {place}")
    museum = await create_tenant_with_number(api, "museum", OTHER_NUMBER)
    offered = await request_ok(admin, "GET", "/v1/twilio/numbers")
    assert {line["number"]: line["owner"] for line in offered["items"]} == {
        f"+1307224000{place}": "none" for place in range(5)
    }
    some = await request_ok(admin, "POST", "/v1/numbers/import", {"numbers": ["+13072240000", NUMBER, OTHER_NUMBER]})
    assert some["imported"] == ["+13072240000"]
    assert [line["number"] for line in some["skipped"]] == [NUMBER, OTHER_NUMBER]
    rest = await request_ok(admin, "POST", "/v1/numbers/import", {"all": True})
    assert rest == {"imported": [f"+1307224000{place}" for place in range(1, 5)], "skipped": [], "remaining": 0}
    assert (await request_ok(admin, "GET", "/v1/numbers/+13072240003"))["label"] == "line 3"
    for wrong in ({}, {"all": True, "numbers": [NUMBER]}):
        assert (await admin.request("POST", "/v1/numbers/import", wrong)).status == 422
    first = await request_ok(admin, "GET", "/v1/number-provisioning?limit=2")
    second = await request_ok(admin, "GET", f"/v1/number-provisioning?limit=3&cursor={first['next_cursor']}")
    assert [line["number"] for line in first["items"] + second["items"]] == [f"+1307224000{n}" for n in range(5)]
    assert second["next_cursor"] == ""
    assert all(line["actual"] for line in second["items"])
    assert (await request_ok(museum, "GET", "/v1/numbers"))["items"][0]["number"] == OTHER_NUMBER


async def test_of_the_platforms_account_a_tenant_sees_its_own(api, twilio_api):
    admin = await create_tenant_with_number(api)
    platform = await api.platform_client("harbour")
    assert [line["number"] for line in (await request_ok(admin, "GET", "/v1/twilio/numbers"))["items"]] == [NUMBER]
    assert [line["owner"] for line in (await request_ok(platform, "GET", "/v1/twilio/numbers"))["items"]] == [
        "self",
        "none",
    ]
    refused = await request_ok(admin, "POST", "/v1/numbers/import", {"numbers": [OTHER_NUMBER]})
    assert refused["imported"] == []
    assert (await request_ok(admin, "POST", "/v1/numbers/import", {"all": True}))["imported"] == []
    assert (await request_ok(platform, "POST", "/v1/numbers/import", {"all": True}))["imported"] == [OTHER_NUMBER]


async def test_wrong_credentials_are_told_by_all(api, twilio_api):
    admin = await create_tenant_with_number(api)
    twilio_api.add_account(ACCOUNT, TOKEN)
    await request_ok(admin, "PUT", "/v1/tenant/twilio", {"account_sid": ACCOUNT, "auth_token": TOKEN})
    twilio_api.add_account(ACCOUNT, "a token that was changed at Twilio")
    page = await request_ok(admin, "GET", "/v1/number-provisioning")
    assert (page["account_sid"], page["tenant_owned"], page["managed"]) == (ACCOUNT, True, True)
    assert "credentials" in page["error"]
    for method, path, body in (
        ("GET", "/v1/twilio/numbers", None),
        ("POST", "/v1/numbers/import", {"all": True}),
        ("POST", "/v1/number-provisioning/repair", None),
    ):
        answer = await admin.request(method, path, body)
        assert (answer.status, answer.json["title"]) == (502, "Bad Gateway")
        assert TOKEN not in answer.body.decode()


async def test_without_a_twilio_account(database, twilio_api):
    api = ApiEnv(database, twilio=twilio_api.origin, tokens={SIMULATOR_ACCOUNT_SID: "a token"})
    admin = await create_tenant_with_number(api)
    await assign_number(admin)
    await api.provisioner.process_due()
    page = await request_ok(admin, "GET", "/v1/number-provisioning")
    assert (page["managed"], page["items"][0]["state"]) == (False, "not_managed")
    assert "TWILIO_ACCOUNT_SID" in page["error"]
    assert (await admin.request("GET", "/v1/twilio/numbers")).status == 409
    assert twilio_api.recorded_requests == []


async def test_without_a_registrar(database):
    admin = await create_tenant_with_number(ApiEnv(database))
    await assign_number(admin)
    assert (await admin.request("GET", "/v1/number-provisioning")).status == 409
